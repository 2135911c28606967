// Sums with the rounding errors carried along (Knuth's two-sum; Ogita, Rump and Oishi 2005, algorithm Sum2): as good as
// twice the precision, until the one rounding at the end.

// The same number, opaquely: a compiler that may reassociate would simplify the errors away.
fn opaque(x: vec4<f32>) -> vec4<f32> { return bitcast<vec4<f32>>(bitcast<vec4<u32>>(x) ^ vec4(p.zero)); }

// (a + b, what that lost).
struct Sum4 { high: vec4<f32>, low: vec4<f32> }
fn two_sum(a: vec4<f32>, b: vec4<f32>) -> Sum4 {
  let s = opaque(a + b);
  let c = opaque(s - a);
  return Sum4(s, (a - opaque(s - c)) + (b - c));
}

// Two sums as (high, low, high, low), added to two others.
fn add_pairs(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
  let s = two_sum(vec4(a.xz, 0.0, 0.0), vec4(b.xz, 0.0, 0.0));
  let low = s.low.xy + (a.yw + b.yw);
  return vec4(s.high.x, low.x, s.high.y, low.y);
}

// The sum of four sums.
fn fold_sum(acc: Sum4) -> vec2<f32> {
  let a = two_sum(vec4(acc.high.xy, 0.0, 0.0), vec4(acc.high.zw, 0.0, 0.0));
  let low = a.low.xy + (acc.low.xy + acc.low.zw);
  let b = two_sum(vec4(a.high.x), vec4(a.high.y));
  return vec2(b.high.x, b.low.x + (low.x + low.y));
}

// Its value. The error of a sum that is infinite or NaN means nothing.
fn rounded(high: f32, low: f32) -> f32 {
  let finite = (bitcast<u32>(high) & 0x7f800000u) != 0x7f800000u;
  return select(high, high + low, finite);
}
