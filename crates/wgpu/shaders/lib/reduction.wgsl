// The rules of row_reduce and segment_reduce: ${RULE} is sum, max or sum_squares.
#if RULE=max
// Numbers in the order of integers, by bits: NaN above all, and nothing is flushed.
struct Acc { keys: vec4<u32> }
fn start_acc() -> Acc { return Acc(vec4(0u)); }
fn take(acc: ptr<function, Acc>, z: vec4<f32>, at: vec4<u32>, inside: vec4<bool>) {
  let bits = bitcast<vec4<u32>>(z);
  let ordered = select(bits | vec4(0x80000000u), ~bits, bits >= vec4(0x80000000u));
  let keys = select(ordered, vec4(0xffffffffu), (bits & vec4(0x7fffffffu)) > vec4(0x7f800000u));
  (*acc).keys = max((*acc).keys, select(vec4(0u), keys, inside));
}
fn fold(acc: Acc) -> vec4<u32> {
  let m = max(acc.keys.xy, acc.keys.zw);
  return vec4(max(m.x, m.y), 0u, 0u, 0u);
}
fn merge(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> { return max(a, b); }
fn result_bits(state: vec4<u32>) -> u32 {
  let key = state.x;
  if (key == 0u) { return 0xff800000u; }
  if (key == 0xffffffffu) { return 0x7fc00000u; }
  return select(~key, key & 0x7fffffffu, key >= 0x80000000u);
}
#else
#include sum
fn start_acc() -> Sum4 { return Sum4(vec4(0.0), vec4(0.0)); }
alias Acc = Sum4;
fn take(acc: ptr<function, Acc>, z: vec4<f32>, at: vec4<u32>, inside: vec4<bool>) {
#if RULE=sum_squares
  let term = select(vec4(0.0), z * z, inside);
#else
  let term = select(vec4(0.0), z, inside);
#end
  let s = two_sum((*acc).high, term);
  (*acc).high = s.high;
  (*acc).low += s.low;
}
fn fold(acc: Acc) -> vec4<u32> { return bitcast<vec4<u32>>(vec4(fold_sum(acc), 0.0, 0.0)); }
fn merge(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
  return bitcast<vec4<u32>>(add_pairs(bitcast<vec4<f32>>(a), bitcast<vec4<f32>>(b)));
}
fn result_bits(state: vec4<u32>) -> u32 {
  let s = bitcast<vec4<f32>>(state);
  return bitcast<u32>(rounded(s.x, s.y));
}
#end
