// Sums of squares of which none overflows or vanishes: a state is (sum of squares of large numbers scaled down, of medium
// ones and what rounding lost, of small ones scaled up) (Blue 1978).
#include sum
const grow = 0x1p90f;
const shrink = 0x1p-90f;
fn merge(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
  let u = bitcast<vec4<f32>>(a);
  let v = bitcast<vec4<f32>>(b);
  let medium = add_pairs(vec4(u.yz, 0.0, 0.0), vec4(v.yz, 0.0, 0.0));
  return bitcast<vec4<u32>>(vec4(u.x + v.x, medium.xy, u.w + v.w));
}
fn norm_of(state: vec4<u32>) -> f32 {
  let s = bitcast<vec4<f32>>(state);
  let medium = rounded(s.y, s.z);
  // The square of a scale is no f32, but the product with it twice is.
  var norm = 0.0;
  if (state.x != 0u) {
    norm = sqrt(s.x + medium * shrink * shrink) * grow;
  } else if (medium != 0.0) {
    norm = sqrt(medium + s.w * shrink * shrink);
  } else {
    norm = sqrt(s.w) * shrink;
  }
  return norm;
}
struct Acc { large: vec4<f32>, medium: Sum4, small: vec4<f32> }
fn start_acc() -> Acc { return Acc(vec4(0.0), Sum4(vec4(0.0), vec4(0.0)), vec4(0.0)); }
fn take(acc: ptr<function, Acc>, z: vec4<f32>, at: vec4<u32>, inside: vec4<bool>) {
  let magnitude = bitcast<vec4<u32>>(z) & vec4(0x7fffffffu);
  // At least 2^46 (or not finite), and below 2^-50.
  let large = inside & (magnitude >= vec4(0x56800000u));
  let small = inside & (magnitude < vec4(0x26800000u));
  let down = select(vec4(0.0), z * shrink, large);
  let up = select(vec4(0.0), z * grow, small);
  let medium = select(z, vec4(0.0), large | small | !inside);
  (*acc).large += down * down;
  (*acc).small += up * up;
  let s = two_sum((*acc).medium.high, medium * medium);
  (*acc).medium = Sum4(s.high, (*acc).medium.low + s.low);
}
fn fold(acc: Acc) -> vec4<u32> {
  let large = acc.large.xy + acc.large.zw;
  let small = acc.small.xy + acc.small.zw;
  return bitcast<vec4<u32>>(vec4(large.x + large.y, fold_sum(acc.medium), small.x + small.y));
}
