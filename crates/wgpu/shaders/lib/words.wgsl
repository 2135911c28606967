// One output element for each number below p.n, from `element(i) -> u32`, which gives its bits. Every invocation owns
// whole words of `out`, so that no two write to one, wherever in a word the first element lies. In the words at the
// ends the neighbours keep their bits.
#include load name=out dtype=${OUT}

fn write_word(w: u32) {
  // Below the first element this wraps around to a large number.
  let first = (w << out_shift) - p.out_at;
  var word = 0u;
  if (first >= p.n || p.n - first < out_per) { word = out[w]; }
  for (var lane = 0u; lane < out_per; lane++) {
    if (first + lane < p.n) {
      let at = lane * out_width;
      word = (word & ~(out_mask << at)) | (element(first + lane) << at);
    }
  }
  out[w] = word;
}

// Words that an invocation writes, a workgroup apart.
const words_each = 4u;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let base = (group.x + group.y * groups.x) * words_each * 256u + t;
  let first = p.out_at >> out_shift;
  let last = (p.out_at + p.n - 1u) >> out_shift;
  for (var i = 0u; i < words_each; i++) {
    let w = first + base + i * 256u;
    if (w <= last) { write_word(w); }
  }
}
