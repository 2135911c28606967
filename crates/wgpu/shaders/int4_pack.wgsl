// Codes of 4 bits, a workgroup for each group of 256 numbers. Products are opaque, so that each is rounded by itself.
#params n x_at codes_at scales_at zeros_at
@group(0) @binding(0) var<storage, ${READ}> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> codes: array<u32>;
@group(0) @binding(2) var<storage, read_write> scales: array<u32>;
@group(0) @binding(3) var<storage, read_write> zeros: array<u32>;

var<workgroup> low: array<f32, 256>;
var<workgroup> high: array<f32, 256>;
var<workgroup> lost: array<u32, 256>;

#include opaque

fn code_of(x: f32, scale: f32, zero: u32) -> u32 {
  var code = 0u;
  for (var k = 0; k < 15; k++) {
    let steps = k - i32(zero);
    let middle = opaque(scale * (f32(steps) + 0.5));
    if (x > middle || (x == middle && (steps & 1) != 0)) { code += 1u; }
  }
  return code;
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let g = group.x + group.y * groups.x;
  if (g * 256u >= p.n) { return; }
  let i = g * 256u + t;
  var bits = 0u;
  if (i < p.n) { bits = x[p.x_at + i]; }
  let special = (bits & 0x7f800000u) == 0x7f800000u;
  let inside = i < p.n && !special;
  let value = bitcast<f32>(bits);
  low[t] = select(0x1.fffffep127f, value, inside);
  high[t] = select(-0x1.fffffep127f, value, inside);
  lost[t] = select(0u, 1u, special);
  workgroupBarrier();
  for (var half = 128u; half > 0u; half >>= 1u) {
    if (t < half) {
      low[t] = min(low[t], low[t + half]);
      high[t] = max(high[t], high[t + half]);
      lost[t] |= lost[t + half];
    }
    workgroupBarrier();
  }
  let range = opaque(high[0] - low[0]);
  let whole = lost[0] == 0u && (bitcast<u32>(range) & 0x7f800000u) != 0x7f800000u;
  // The f32 that is nearest to 1/15.
  let scale = opaque(max(range, 1e-5) * bitcast<f32>(0x3d888889u));
  let zero = code_of(-low[0], scale, 0u);
  let code = code_of(value, scale, zero);
  workgroupBarrier();
  lost[t] = select(0u, code, whole && i < p.n);
  workgroupBarrier();
  let word = g * 32u + t;
  if (t < 32u && word * 8u < p.n) {
    var packed = 0u;
    for (var e = 0u; e < 8u; e++) { packed |= lost[8u * t + e] << (4u * e); }
    codes[p.codes_at + word] = packed;
  }
  if (t == 0u) {
    scales[p.scales_at + g] = select(0x7fc00000u, bitcast<u32>(scale), whole);
    zeros[p.zeros_at + g] = select(0u, zero, whole);
  }
}
