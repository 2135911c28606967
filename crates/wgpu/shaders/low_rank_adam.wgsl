// The last step in a subspace where the weight is bf16: out = keep * out + x, with the update in x, rounded to the nearest
// or at random.
#params n out_at first x_at keep seed_lo seed_hi stream_lo stream_hi
#include bits
@group(0) @binding(0) var<storage, ${READ}> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
#if NOISE=1
#include adam_noise
#end
#include words
#include adam_stored
const half = 0u;

fn element(i: u32) -> u32 {
  let keep = bitcast<f32>(p.keep);
  var moved = bitcast<f32>(x[p.x_at + i]);
  // Nothing is kept of what may be no number.
  if (keep != 0.0) { moved += keep * out_load(p.out_at + i); }
  return stored(moved, i);
}
