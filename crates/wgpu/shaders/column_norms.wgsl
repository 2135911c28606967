// Norms of columns: states of some rows at a time, an invocation a column (STAGE=squares), then what they give together
// (STAGE=roots).
#if STAGE=squares
#params rows rows_each columns stride x_at state0
#include bits
@group(0) @binding(0) var<storage, ${READ}> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> states: array<vec4<u32>>;
#include load name=x dtype=${X}
#else
#params blocks columns out_at
@group(0) @binding(0) var<storage, ${READ}> states: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
#end
#include squares

#if STAGE=squares
fn element(row: u32, last: u32, column: u32) -> f32 {
  if (row >= last) { return 0.0; }
  return x_load(p.x_at + row * p.stride + column);
}
#end

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let g = group.x + group.y * groups.x;
#if STAGE=squares
  let across = (p.columns + 255u) / 256u;
  let block = g / across;
  let column = (g % across) * 256u + t;
  let first = block * p.rows_each;
  if (column >= p.columns || first >= p.rows) { return; }
  let last = min(first + p.rows_each, p.rows);
  var acc = start_acc();
  for (var row = first; row < last; row += 4u) {
    let inside = vec4(row, row + 1u, row + 2u, row + 3u) < vec4(last);
    let z = vec4(
      element(row, last, column), element(row + 1u, last, column),
      element(row + 2u, last, column), element(row + 3u, last, column),
    );
    take(&acc, z, vec4(row), inside);
  }
  states[p.state0 + block * p.columns + column] = fold(acc);
#else
  let column = g * 256u + t;
  if (column >= p.columns) { return; }
  var state = vec4<u32>(0u);
  for (var block = 0u; block < p.blocks; block++) { state = merge(state, states[block * p.columns + column]); }
  out[p.out_at + column] = norm_of(state);
#end
}
