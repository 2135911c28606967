// out = alpha * x x^T + beta * out, in f32, x by rows or by columns; a workgroup makes a tile, those above the diagonal
// nothing, and what is below it is written to its place above too.
#params n k x_at ldx out_at alpha beta
#include bits
@group(0) @binding(0) var<storage, ${READ}> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
#include load name=x dtype=${X}

fn x_of(row: u32, k: u32) -> f32 {
  if (row >= p.n || k >= p.k) { return 0.0; }
#if TRANS_A=1
  return x_load(p.x_at + k * p.ldx + row);
#else
  return x_load(p.x_at + row * p.ldx + k);
#end
}
fn a_at(row: u32, k: u32) -> f32 { return x_of(row, k); }
fn b_at(k: u32, column: u32) -> f32 { return x_of(column, k); }
#include tile

fn store(row: u32, column: u32, sums: vec4<f32>) {
  if (row >= p.n) { return; }
  for (var c = 0u; c < 4u; c++) {
    if (column + c <= row) {
      let at = p.out_at + row * p.n + column + c;
      var value = bitcast<f32>(p.alpha) * sums[c];
      // With beta 0 what was there does not matter, not even NaN.
      if (p.beta != 0u) { value += bitcast<f32>(p.beta) * bitcast<f32>(out[at]); }
      out[at] = bitcast<u32>(value);
      out[p.out_at + (column + c) * p.n + row] = bitcast<u32>(value);
    }
  }
}
#include tile_store

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let row0 = group.y * tile_rows;
  let column0 = group.x * tile_columns;
  if (column0 >= row0 + tile_rows) { return; }
  store_tile(t, row0, column0, multiply(t, row0, column0, p.k));
}
