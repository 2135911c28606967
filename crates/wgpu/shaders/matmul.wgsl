// out = alpha * op(a) op(b) + beta * out, in f32; a workgroup makes a tile, and the third dimension is the batch.
#params m n k a_at lda a_batch b_at ldb b_batch out_at ldo out_batch alpha beta
#include bits
@group(0) @binding(0) var<storage, ${READ}> a: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> b: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
#include load name=a dtype=${X}
#include load name=b dtype=${X}

var<private> a0: u32;
var<private> b0: u32;
fn a_at(row: u32, k: u32) -> f32 {
  if (row >= p.m || k >= p.k) { return 0.0; }
#if TRANS_A=1
  return a_load(a0 + k * p.lda + row);
#else
  return a_load(a0 + row * p.lda + k);
#end
}
fn b_at(k: u32, column: u32) -> f32 {
  if (k >= p.k || column >= p.n) { return 0.0; }
#if TRANS_B=1
  return b_load(b0 + column * p.ldb + k);
#else
  return b_load(b0 + k * p.ldb + column);
#end
}
#include tile

var<private> out0: u32;
fn store(row: u32, column: u32, sums: vec4<f32>) {
  if (row >= p.m) { return; }
  let base = out0 + row * p.ldo;
  for (var c = 0u; c < 4u; c++) {
    if (column + c < p.n) {
      var value = bitcast<f32>(p.alpha) * sums[c];
      // With beta 0 what was there does not matter, not even NaN.
      if (p.beta != 0u) { value += bitcast<f32>(p.beta) * bitcast<f32>(out[base + column + c]); }
      out[base + column + c] = bitcast<u32>(value);
    }
  }
}
#include tile_store

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  a0 = p.a_at + group.z * p.a_batch;
  b0 = p.b_at + group.z * p.b_batch;
  out0 = p.out_at + group.z * p.out_batch;
  let row0 = group.y * tile_rows;
  let column0 = group.x * tile_columns;
  store_tile(t, row0, column0, multiply(t, row0, column0, p.k));
}
