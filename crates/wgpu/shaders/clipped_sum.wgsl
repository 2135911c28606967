// Scaled rows added to a row, an invocation for each column. Where a window does not show all rows, sums come back from
// dispatch to dispatch: the first begins them, the last adds them to what is there.
#params columns stride rows rows_at factors_at out_at first last
@group(0) @binding(0) var<storage, ${READ}> rows: array<f32>;
@group(0) @binding(1) var<storage, ${READ}> factors: array<f32>;
@group(0) @binding(2) var<storage, read_write> sums: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
#include pair

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let column = (group.x + group.y * groups.x) * 256u + t;
  if (column >= p.columns) { return; }
  var sum = vec2(0.0);
  if (p.first == 0u) { sum = sums[column]; }
  for (var row = 0u; row < p.rows; row++) {
    let factor = factors[p.factors_at + row];
    // Also where the number is infinite or NaN.
    if (factor != 0.0) { sum = add_to(sum, times(factor, rows[p.rows_at + row * p.stride + column])); }
  }
  if (p.last == 1u) {
    out[p.out_at + column] = value_of(add_to(sum, out[p.out_at + column]));
  } else {
    sums[column] = sum;
  }
}
