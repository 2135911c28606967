// The sum of the pairs of a workgroup, by halves; needs `pair`. To be called once, by all invocations; the first has it.
var<workgroup> pairs: array<vec2<f32>, 256>;

fn gather_pairs(t: u32, own: vec2<f32>) -> vec2<f32> {
  pairs[t] = own;
  workgroupBarrier();
  for (var half = 128u; half > 0u; half >>= 1u) {
    if (t < half) { pairs[t] = merge_pairs(pairs[t], pairs[t + half]); }
    workgroupBarrier();
  }
  return pairs[0];
}

// The error of a sum that is infinite or NaN means nothing, and must not reach the next.
fn merge_pairs(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
  let sum = add_to(add_to(a, b.x), b.y);
  let finite = (bitcast<u32>(a.x + b.x) & 0x7f800000u) != 0x7f800000u;
  return select(vec2(a.x + b.x, 0.0), sum, finite);
}
