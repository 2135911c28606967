// Philox4x32-10: an invocation makes one block of four draws. p.skip draws of the first block come before the first
// element.
#params n out_at skip block_lo block_hi stream_lo stream_hi seed_lo seed_hi
#include math
#include philox
@group(0) @binding(0) var<storage, read_write> out: array<u32>;

fn block_of(lo: u32, hi: u32) -> vec4<u32> {
  return philox4x32_10(vec4(lo, hi, p.stream_lo, p.stream_hi), vec2(p.seed_lo, p.seed_hi));
}

// ((bits >> 9) + 1/2) * 2^-23: exact.
fn uniform_of(bits: u32) -> f32 { return f32((bits >> 8u) | 1u) * 5.9604644775390625e-8; }

// The normal numbers of the draws of a pair, by Box and Muller.
fn normals(a: u32, b: u32) -> vec2<f32> { return sqrt(-2.0 * ln_f32(uniform_of(a))) * turn(uniform_of(b)); }

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let i = (group.x + group.y * groups.x) * 256u + t;
  if (i >= (p.n + p.skip + 3u) / 4u) { return; }
  let lo = p.block_lo + i;
  let bits = block_of(lo, p.block_hi + select(0u, 1u, lo < i));
#if DRAW=bits
  let draws = bits;
#end
#if DRAW=uniform
  let draws = vec4(
    bitcast<u32>(uniform_of(bits.x)), bitcast<u32>(uniform_of(bits.y)),
    bitcast<u32>(uniform_of(bits.z)), bitcast<u32>(uniform_of(bits.w)),
  );
#end
#if DRAW=normal
  let draws = bitcast<vec4<u32>>(vec4(normals(bits.x, bits.y), normals(bits.z, bits.w)));
#end
  for (var j = 0u; j < 4u; j++) {
    let e = 4u * i + j - p.skip;
    if (e < p.n) { out[p.out_at + e] = draws[j]; }
  }
}
