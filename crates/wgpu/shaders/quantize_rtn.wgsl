// Groups rounded to a few levels and back, as `RtnRule` of the core defines it, in two stages: grids finds the levels of each
// group, 32 invocations a group; apply rounds elements. Products and differences are each rounded by themselves, and
// quotients worked out in integers, so that nothing depends on the device.
#if STAGE=grids
#params count group x_at levels clip
#include bits
@group(0) @binding(0) var<storage, ${READ}> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> grids: array<vec4<f32>>;
#include load name=x dtype=${X}
#include pair
#include clip

var<workgroup> ends: array<vec2<u32>, 256>;

// Bits of magnitudes: of the numbers below zero, and of those above; NaN is above everything.
fn wider(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> { return max(a, b); }

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let g = (group.x + group.y * groups.x) * 8u + t / 32u;
  let lane = t & 31u;
  var own = vec2(0u);
  if (g < p.count) {
    for (var j = lane; j < p.group; j += 32u) {
      let bits = bitcast<u32>(x_load(p.x_at + g * p.group + j));
      let magnitude = bits & 0x7fffffffu;
      own = wider(own, select(vec2(0u, magnitude), vec2(magnitude, 0u), (bits >> 31u) == 1u));
    }
  }
  ends[t] = own;
  workgroupBarrier();
  for (var half = 16u; half > 0u; half >>= 1u) {
    if (lane < half) { ends[t] = wider(ends[t], ends[t + half]); }
    workgroupBarrier();
  }
  if (g >= p.count || lane != 0u) { return; }
  let found = ends[t];
  // 2^125.
  if (max(found.x, found.y) > 0x7e000000u) {
    grids[g] = vec4(0.0, bitcast<f32>(0x7fc00000u ^ p.zero), 0.0, 0.0);
    return;
  }
  let below = opaque(bitcast<f32>(p.clip) * bitcast<f32>(found.x));
  let above = opaque(bitcast<f32>(p.clip) * bitcast<f32>(found.y));
#if SYMMETRIC=1
  let extent = max(above, below);
#else
  let extent = opaque(above + below);
#end
  // 2^-100.
  if (extent < bitcast<f32>(0x0d800000u)) {
    grids[g] = vec4(0.0);
    return;
  }
  let levels = bitcast<f32>(p.levels);
  let inverse = bitcast<f32>(quotient_of(p.levels, bitcast<u32>(extent)));
  let scale = bitcast<f32>(quotient_of(bitcast<u32>(extent), p.levels));
#if SYMMETRIC=1
  grids[g] = vec4(inverse, scale, -levels - 1.0, levels);
#else
  let none = min(round(opaque(below * inverse)), levels);
  grids[g] = vec4(inverse, scale, -none, levels - none);
#end
}
#end
#if STAGE=apply
#params n group x_at out_at
#include bits
@group(0) @binding(0) var<storage, ${READ}> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
@group(0) @binding(2) var<storage, ${READ}> grids: array<vec4<f32>>;
#include load name=x dtype=${OUT}
#include words

fn element(i: u32) -> u32 {
  let grid = grids[i / p.group];
  if ((bitcast<u32>(grid.y) & 0x7fffffffu) > 0x7f800000u) { return out_narrow(grid.y); }
  let level = clamp(round(x_load(p.x_at + i) * grid.x), grid.z, grid.w);
  // No zero has a sign.
  if (level == 0.0) { return 0u; }
  return out_narrow(level * grid.y);
}
#end
