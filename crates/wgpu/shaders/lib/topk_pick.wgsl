// Chooses a digit from a histogram of 256: that of the element of rank `rank`, counted from 1 and from the top.
var<workgroup> digit_counts: array<u32, 256>;
// Of sixteen digits each.
var<workgroup> group_counts: array<u32, 16>;
// The digit, the elements of that digit, and the rank among them.
var<workgroup> picked: vec3<u32>;

// To be called by all 256 invocations, each with the count of its digit.
fn pick(t: u32, count: u32, rank: u32) -> vec3<u32> {
  digit_counts[t] = count;
  workgroupBarrier();
  if (t < 16u) {
    var sum = 0u;
    for (var i = 0u; i < 16u; i++) { sum += digit_counts[16u * t + i]; }
    group_counts[t] = sum;
  }
  workgroupBarrier();
  // The elements of all greater digits.
  var above = 0u;
  for (var i = t + 1u; i <= (t | 15u); i++) { above += digit_counts[i]; }
  for (var g = (t >> 4u) + 1u; g < 16u; g++) { above += group_counts[g]; }
  if (above < rank && above + count >= rank) { picked = vec3(t, count, rank - above); }
  return workgroupUniformLoad(&picked);
}
