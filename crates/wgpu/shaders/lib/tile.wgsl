// A tile of 128 rows and 64 columns of a matrix product: 16 steps of k at a time go through workgroup memory, and each
// invocation keeps 8 rows of 4 columns in registers, which is 32 multiply-adds for every 12 numbers read there. The
// including file has `a_at(row, k) -> f32` and `b_at(k, column) -> f32`, which give 0 outside; ${TRANS_A} and
// ${TRANS_B} say which way the elements of each lie in memory, so that neighbours read neighbours.
const tile_rows = 128u;
const tile_columns = 64u;
const tile_k = 16u;

// Four rows (columns) for each step of k, with a gap against bank conflicts. Those of a as bits: between products the
// including file may keep something else there.
var<workgroup> shared_a: array<vec4<u32>, 528>;
var<workgroup> shared_b: array<vec4<f32>, 272>;

struct Acc8 {
  r0: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>, r3: vec4<f32>,
  r4: vec4<f32>, r5: vec4<f32>, r6: vec4<f32>, r7: vec4<f32>,
}

fn load_a(t: u32, row0: u32, k0: u32) {
#if TRANS_A=1
  let quad = t & 31u;
  let k = t >> 5u;
  let step = 8u;
#else
  let quad = t >> 4u;
  let k = t & 15u;
  let step = 16u;
#end
  for (var i = 0u; i < 2u; i++) {
#if TRANS_A=1
    let q = quad;
    let kk = k + i * step;
#else
    let q = quad + i * step;
    let kk = k;
#end
    let row = row0 + 4u * q;
    let quad_of_rows =
      vec4(a_at(row, k0 + kk), a_at(row + 1u, k0 + kk), a_at(row + 2u, k0 + kk), a_at(row + 3u, k0 + kk));
    shared_a[kk * 33u + q] = bitcast<vec4<u32>>(quad_of_rows);
  }
}

fn load_b(t: u32, column0: u32, k0: u32) {
#if TRANS_B=1
  let q = t >> 4u;
  let kk = t & 15u;
#else
  let q = t & 15u;
  let kk = t >> 4u;
#end
  let column = column0 + 4u * q;
  shared_b[kk * 17u + q] =
    vec4(b_at(k0 + kk, column), b_at(k0 + kk, column + 1u), b_at(k0 + kk, column + 2u), b_at(k0 + kk, column + 3u));
}

// Rows from row0 + 8 (t / 16) on, columns from column0 + 4 (t mod 16) on.
fn multiply(t: u32, row0: u32, column0: u32, depth: u32) -> Acc8 {
  var r0 = vec4(0.0); var r1 = vec4(0.0); var r2 = vec4(0.0); var r3 = vec4(0.0);
  var r4 = vec4(0.0); var r5 = vec4(0.0); var r6 = vec4(0.0); var r7 = vec4(0.0);
  let a_quad = 2u * (t >> 4u);
  let b_quad = t & 15u;
  for (var k0 = 0u; k0 < depth; k0 += tile_k) {
    load_a(t, row0, k0);
    load_b(t, column0, k0);
    workgroupBarrier();
    for (var k = 0u; k < tile_k; k++) {
      let lo = bitcast<vec4<f32>>(shared_a[k * 33u + a_quad]);
      let hi = bitcast<vec4<f32>>(shared_a[k * 33u + a_quad + 1u]);
      let b = shared_b[k * 17u + b_quad];
      r0 += lo.x * b; r1 += lo.y * b; r2 += lo.z * b; r3 += lo.w * b;
      r4 += hi.x * b; r5 += hi.y * b; r6 += hi.z * b; r7 += hi.w * b;
    }
    workgroupBarrier();
  }
  return Acc8(r0, r1, r2, r3, r4, r5, r6, r7);
}
