// Inner products of the two gradients of a tied table: a workgroup for each row of the embedding adds up what the head has
// in the row of the table with its id, of the rows that the dispatch shows: p.shown from p.row0 on. Samples of rows are
// those that the links of `embedding_norms` have, and so is the last stage.
#params rows d vocabulary row0 shown offsets_at ids_at e_at h_at dlogits_at first
@group(0) @binding(0) var<storage, ${READ}> offsets: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> ids: array<u32>;
@group(0) @binding(2) var<storage, ${READ}> of_rows: array<u32>;
@group(0) @binding(3) var<storage, ${READ}> e: array<u32>;
@group(0) @binding(4) var<storage, ${READ}> h: array<u32>;
@group(0) @binding(5) var<storage, ${READ}> dlogits: array<u32>;
@group(0) @binding(6) var<storage, read_write> terms: array<vec2<f32>>;
#include bits
#include pair
#include gather_pairs
#include load name=e dtype=${X}
#include load name=h dtype=${X}
#include load name=dlogits dtype=${X}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let row = group.x + group.y * groups.x;
  var sum = vec2(0.0);
  if (row < p.rows && of_rows[row] != 0xffffffffu) {
    let sample = of_rows[row] & 0x7fffffffu;
    let id = ids[p.ids_at + row];
    let begin = max(offsets[p.offsets_at + sample], p.row0);
    let end = min(offsets[p.offsets_at + sample + 1u], p.row0 + p.shown);
    for (var j = t; j < p.d; j += 256u) {
      var of_head = vec2(0.0);
      for (var s = begin; s < end; s++) {
        let i = s - p.row0;
        of_head = add_to(of_head, times(dlogits_load(p.dlogits_at + i * p.vocabulary + id), h_load(p.h_at + i * p.d + j)));
      }
      sum = add_to(sum, times(value_of(of_head), e_load(p.e_at + row * p.d + j)));
    }
  }
  sum = gather_pairs(t, sum);
  if (t == 0u && row < p.rows) {
    if (p.first == 0u) { sum = merge_pairs(terms[row], sum); }
    terms[row] = sum;
  }
}
