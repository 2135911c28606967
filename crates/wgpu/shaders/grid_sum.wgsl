// Scaled rows, rounded to whole steps of a grid and added in 64-bit integers, an invocation for each column.
#params columns stride rows row0 rows_at factors_at sums_at reciprocal slot
@group(0) @binding(0) var<storage, ${READ}> rows: array<f32>;
@group(0) @binding(1) var<storage, ${READ}> factors: array<f32>;
// A low word and a high one for each column.
@group(0) @binding(2) var<storage, read_write> sums: array<u32>;
@group(0) @binding(3) var<storage, read_write> faults: array<atomic<u32>>;
#include pair

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let column = (group.x + group.y * groups.x) * 256u + t;
  if (column >= p.columns) { return; }
  let at = p.sums_at + 2u * column;
  var low = sums[at];
  var high = sums[at + 1u];
  for (var row = 0u; row < p.rows; row++) {
    let factor = factors[p.factors_at + row];
    if (factor == 0.0) { continue; }
    let scaled = times(factor, rows[p.rows_at + row * p.stride + column]);
    // To the nearest, ties to even.
    let steps = round(times(scaled, bitcast<f32>(p.reciprocal)));
    // 2^31 and more, infinities and NaN, by their bits.
    if ((bitcast<u32>(steps) & 0x7fffffffu) >= 0x4f000000u) {
      atomicMax(&faults[p.slot], ~(p.row0 + row));
      continue;
    }
    let whole = bitcast<u32>(i32(steps));
    low += whole;
    high += select(0u, 0xffffffffu, (whole >> 31u) == 1u) + select(0u, 1u, low < whole);
  }
  sums[at] = low;
  sums[at + 1u] = high;
}
