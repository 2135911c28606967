// Sums as pairs, of a number and what rounding has lost (Knuth's two-sum), and products that nothing is fused with.

#include opaque

fn times(a: f32, b: f32) -> f32 { return opaque(a * b); }

fn add_to(sum: vec2<f32>, x: f32) -> vec2<f32> {
  let s = opaque(sum.x + x);
  let c = opaque(s - sum.x);
  return vec2(s, sum.y + ((sum.x - opaque(s - c)) + (x - c)));
}

// The error of a sum that is infinite or NaN means nothing.
fn value_of(sum: vec2<f32>) -> f32 {
  let finite = (bitcast<u32>(sum.x) & 0x7f800000u) != 0x7f800000u;
  return select(sum.x, sum.x + sum.y, finite);
}
