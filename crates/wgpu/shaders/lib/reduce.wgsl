// States of ${THREADS} neighbouring invocations merged into one, in an order that only the device and the variant
// decide. The including file has `merge(a, b)`, which takes the earlier state first.
const threads = ${THREADS}u;
var<workgroup> shared_states: array<vec4<u32>, 256>;

// To be called once, by all invocations; the result is that of the first of each ${THREADS}.
#if SUBGROUP=1
fn reduce(t: u32, state: vec4<u32>, subgroup: u32) -> vec4<u32> {
  var s = state;
  // Subgroups were found to be consecutive invocations when the device was opened; their size may be any.
  for (var distance = 1u; distance < min(subgroup, threads); distance <<= 1u) {
    let other = subgroupShuffleXor(s, distance);
    if ((t & distance) == 0u) { s = merge(s, other); } else { s = merge(other, s); }
  }
  shared_states[t] = s;
  workgroupBarrier();
  if (t % threads == 0u) {
    for (var i = subgroup; i < threads; i += subgroup) { s = merge(s, shared_states[t + i]); }
  }
  return s;
}
#else
fn reduce(t: u32, state: vec4<u32>, subgroup: u32) -> vec4<u32> {
  shared_states[t] = state;
  workgroupBarrier();
  for (var half = threads / 2u; half > 0u; half >>= 1u) {
    if (t % threads < half) { shared_states[t] = merge(shared_states[t], shared_states[t + half]); }
    workgroupBarrier();
  }
  return shared_states[t];
}
#end
