var<workgroup> totals: array<f32, 256>;

// The sum over all invocations of a workgroup, in a fixed order.
fn total(t: u32, own: f32) -> f32 {
  workgroupBarrier();
  totals[t] = own;
  workgroupBarrier();
  for (var half = 128u; half > 0u; half >>= 1u) {
    if (t < half) { totals[t] += totals[t + half]; }
    workgroupBarrier();
  }
  return totals[0];
}
