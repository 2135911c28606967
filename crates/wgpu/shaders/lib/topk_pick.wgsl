// Chooses a digit from a histogram of 256: that of the element of rank `rank`, counted from 1 and from the top.
var<workgroup> tails: array<u32, 256>;
// The digit, the elements of that digit, and the rank among them.
var<workgroup> picked: vec3<u32>;

// To be called by all 256 invocations, each with the count of its digit.
fn pick(t: u32, count: u32, rank: u32) -> vec3<u32> {
  var tail = count;
  for (var distance = 1u; distance < 256u; distance <<= 1u) {
    tails[t] = tail;
    workgroupBarrier();
    if (t + distance < 256u) { tail += tails[t + distance]; }
    workgroupBarrier();
  }
  // Now `tail` counts the elements of this digit and above.
  if (tail >= rank && tail - count < rank) { picked = vec3(t, count, rank - (tail - count)); }
  return workgroupUniformLoad(&picked);
}
