// Clipped gradients added to those rows of a table that the dispatch shows, p.shown from p.first on: a workgroup for each
// row that is the first of its id goes over all of them, sample by sample. The links are those of `embedding_norms`.
#params rows d ids_at dy_at factors_at grad_at first shown
@group(0) @binding(0) var<storage, ${READ}> ids: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> dy: array<u32>;
@group(0) @binding(2) var<storage, ${READ}> next: array<u32>;
@group(0) @binding(3) var<storage, ${READ}> of_rows: array<u32>;
@group(0) @binding(4) var<storage, ${READ}> factors: array<f32>;
@group(0) @binding(5) var<storage, read_write> grad: array<f32>;
#include bits
#include pair
#include load name=dy dtype=${X}

// The sample of a row, without the mark of a first one.
fn sample_of(row: u32) -> u32 { return of_rows[row] & 0x7fffffffu; }

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let row = group.x + group.y * groups.x;
  if (row >= p.rows || of_rows[row] == 0xffffffffu || (of_rows[row] >> 31u) == 0u) { return; }
  // Wraps around to a large number for rows of the table before the first.
  let place = ids[p.ids_at + row] - p.first;
  if (place >= p.shown) { return; }
  for (var j = t; j < p.d; j += 256u) {
    var total = vec2(0.0);
    var at = row;
    // A row of nobody only comes where offsets are at fault.
    while (at != 0xffffffffu && of_rows[at] != 0xffffffffu) {
      let sample = sample_of(at);
      let factor = factors[p.factors_at + sample];
      var sum = vec2(0.0);
      while (at != 0xffffffffu && sample_of(at) == sample) {
        if (factor != 0.0) { sum = add_to(sum, dy_load(p.dy_at + at * p.d + j)); }
        at = next[at];
      }
      if (factor != 0.0) { total = add_to(total, times(factor, value_of(sum))); }
    }
    let to = p.grad_at + place * p.d + j;
    grad[to] = value_of(add_to(total, grad[to]));
  }
}
