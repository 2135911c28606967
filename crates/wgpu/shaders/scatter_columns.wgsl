// out[r, index[j]] += y[r, j], for whole rows, an invocation for each element of y, numbered from the first of the
// dispatch. Two of them may belong into one word of `out`; then the first of both changes it.
#params n k columns y_at out_at index_at slot
#include bits
@group(0) @binding(0) var<storage, ${READ}> y: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
@group(0) @binding(3) var<storage, read_write> faults: array<atomic<u32>>;
#include load name=y dtype=${OUT}
#include load name=out dtype=${OUT}
#include column_index

// Where an element of y belongs.
fn place(i: u32) -> u32 {
  let r = i / p.k;
  return p.out_at + r * p.columns + index[p.index_at + i - r * p.k];
}

// The word with an element of y added to the one at this place.
fn added(word: u32, at: u32, i: u32) -> u32 {
  let lane = at & (out_per - 1u);
  let sum = out_narrow(out_number(out_bits(word, lane)) + y_load(p.y_at + i));
  let shift = lane * out_width;
  return (word & ~(out_mask << shift)) | (sum << shift);
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let i = (group.x + group.y * groups.x) * 256u + t;
  if (i >= p.n) { return; }
  let j = i % p.k;
  if (out_of_order(j)) {
    atomicMax(&faults[p.slot], ~j);
    return;
  }
  let at = place(i);
  let w = at >> out_shift;
  if (i > 0u && place(i - 1u) >> out_shift == w) { return; }
  var word = added(out[w], at, i);
  if (i + 1u < p.n) {
    let next = place(i + 1u);
    if (next >> out_shift == w) { word = added(word, next, i + 1u); }
  }
  out[w] = word;
}
