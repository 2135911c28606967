// The norms of gradients from the products of rows with each other: see PerSampleNorms of the core. STAGE says what a
// dispatch does, for the samples of a group:
//   means   of each sample and column a number about the mean of the rows, and what they leave;
//   centre  a workgroup for each row: less the mean, divided by a power of two so that no product of two vanishes or
//           overflows, and its products with two vectors;
//   tiles   128 rows and 64 others of both sides, multiplied, and the products with each other: terms of each of the rows;
//   total   a workgroup for each sample: all terms. A sample whose terms cancel gets a flag, and is made directly.
// Rows are (where their sample begins, the power of two, products with mean and other); those of nobody begin at `nobody`.
const nobody = 0xffffffffu;

#if STAGE=means
#params sample0 count n rows row0 shown offsets_at x_at first last
@group(0) @binding(0) var<storage, ${READ}> offsets: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> x: array<u32>;
// Sums as pairs; in the end a mean, and of x the sum, of dY the sum less the mean of every row.
@group(0) @binding(2) var<storage, read_write> means: array<vec2<f32>>;
#include bits
#include pair
#include power
#include load name=x dtype=${X}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let i = (group.x + group.y * groups.x) * 256u + t;
  if (i >= p.count * p.n) { return; }
  let sample = p.sample0 + i / p.n;
  let column = i % p.n;
  // Whatever the offsets are, within what is shown.
  let begin = max(offsets[p.offsets_at + sample], p.row0);
  let end = min(offsets[p.offsets_at + sample + 1u], p.row0 + p.shown);
  var sum = vec2(0.0);
  if (p.first == 0u) { sum = means[i]; }
  for (var row = begin; row < end; row++) { sum = add_to(sum, x_load(p.x_at + (row - p.row0) * p.n + column)); }
  if (p.last == 1u) {
    let count = f32(offsets[p.offsets_at + sample + 1u] - offsets[p.offsets_at + sample]);
    let whole = value_of(sum);
    var mean = opaque(whole / max(count, 1.0));
    if (!is_finite(mean)) { mean = 0.0; }
#if SIDE=x
    sum = vec2(mean, whole);
#else
    sum = vec2(mean, (sum.x - times(count, mean)) + sum.y);
#end
  }
  means[i] = sum;
}
#end

#if STAGE=centre
#params sample0 count samples n rows row0 shown offsets_at x_at
@group(0) @binding(0) var<storage, ${READ}> offsets: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> x: array<u32>;
@group(0) @binding(2) var<storage, ${READ}> means: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<storage, read_write> of_rows: array<vec4<u32>>;
#include bits
#include pair
#include gather_pairs
#include power
#include load name=x dtype=${X}

var<workgroup> greatest: array<u32, 256>;

// The sample of the group that a row is of, counted from its first, or `nobody`.
fn sample_of(row: u32) -> u32 {
  var low = 0u;
  var high = p.samples;
  while (low < high) {
    let middle = (low + high) / 2u;
    if (offsets[p.offsets_at + middle] <= row) { low = middle + 1u; } else { high = middle; }
  }
  // Counted from -1; beyond the group is beyond `count`.
  let sample = low - 1u - p.sample0;
  if (low == 0u || sample >= p.count || row >= min(offsets[p.offsets_at + low], p.rows)) { return nobody; }
  return sample;
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let shown = group.x + group.y * groups.x;
  var sample = nobody;
  if (shown < p.shown) { sample = sample_of(p.row0 + shown); }
  let line = p.x_at + shown * p.n;
  let mean = sample * p.n;
  let n = select(p.n, 0u, sample == nobody);
  var own = 0u;
  // By bits, which puts NaN above all.
  for (var i = t; i < n; i += 256u) {
    own = max(own, bitcast<u32>(x_load(line + i) - means[mean + i].x) & 0x7fffffffu);
  }
  greatest[t] = own;
  workgroupBarrier();
  for (var half = 128u; half > 0u; half >>= 1u) {
    if (t < half) { greatest[t] = max(greatest[t], greatest[t + half]); }
    workgroupBarrier();
  }
  let exponent = exponent_of(greatest[0]);
  var with_mean = vec2(0.0);
  var with_other = vec2(0.0);
  for (var i = t; i < n; i += 256u) {
    let value = scaled(x_load(line + i) - means[mean + i].x, -exponent);
    out[shown * p.n + i] = value;
    with_mean = add_to(with_mean, times(value, means[mean + i].x));
    with_other = add_to(with_other, times(value, means[mean + i].y));
  }
  with_mean = gather_pairs(t, with_mean);
  workgroupBarrier();
  with_other = gather_pairs(t, with_other);
  if (t == 0u && shown < p.shown) {
    var begin = nobody;
    if (sample != nobody) { begin = offsets[p.offsets_at + p.sample0 + sample]; }
    of_rows[p.row0 + shown] = vec4(
      begin, bitcast<u32>(exponent), bitcast<u32>(value_of(with_mean)), bitcast<u32>(value_of(with_other)),
    );
  }
}
#end

#if STAGE=tiles
#params row_a rows_a row_b rows_b tile0 d outputs split partials_at fresh
// Rows of both sides that are multiplied, and those that they are multiplied with.
@group(0) @binding(0) var<storage, ${READ}> x_a: array<f32>;
@group(0) @binding(1) var<storage, ${READ}> x_b: array<f32>;
@group(0) @binding(2) var<storage, ${READ}> dy_a: array<f32>;
@group(0) @binding(3) var<storage, ${READ}> dy_b: array<f32>;
@group(0) @binding(4) var<storage, ${READ}> x_rows: array<vec4<u32>>;
@group(0) @binding(5) var<storage, ${READ}> dy_rows: array<vec4<u32>>;
// For each of the rows and each of p.split workgroups the sum of terms, and that of their magnitudes.
@group(0) @binding(6) var<storage, read_write> partials: array<vec2<f32>>;
#include power

// Columns that are added up one after the other.
const deep = 512u;

var<private> of_dy: bool;
var<private> columns: u32;
var<private> k0: u32;
fn a_at(row: u32, k: u32) -> f32 {
  if (row >= p.rows_a || k0 + k >= columns) { return 0.0; }
  if (of_dy) { return dy_a[row * columns + k0 + k]; }
  return x_a[row * columns + k0 + k];
}
fn b_at(k: u32, row: u32) -> f32 {
  if (row >= p.rows_b || k0 + k >= columns) { return 0.0; }
  if (of_dy) { return dy_b[row * columns + k0 + k]; }
  return x_b[row * columns + k0 + k];
}
#include tile

// All columns of one side.
fn products(t: u32, row: u32, other: u32, side_of_dy: bool) -> Acc8 {
  of_dy = side_of_dy;
  columns = select(p.d, p.outputs, side_of_dy);
  k0 = 0u;
  let depth = select(p.d, p.outputs, side_of_dy);
  var total = multiply(t, row, other, min(depth, deep));
  for (var k = deep; k < depth; k += deep) {
    k0 = k;
    let r = multiply(t, row, other, min(depth - k, deep));
    total.r0 += r.r0; total.r1 += r.r1; total.r2 += r.r2; total.r3 += r.r3;
    total.r4 += r.r4; total.r5 += r.r5; total.r6 += r.r6; total.r7 += r.r7;
  }
  return total;
}

fn exponent_at(row: u32) -> i32 { return bitcast<i32>(x_rows[row].y) + bitcast<i32>(dy_rows[row].y); }

// The terms of a row with four others, and their magnitudes; those beside the diagonal twice, for the other side of it.
fn terms(row: u32, other: u32, of_x: vec4<f32>, of_dy_too: vec4<f32>) -> vec2<f32> {
  var sum = vec2(0.0);
  if (row >= p.rows_a) { return sum; }
  let begin = x_rows[p.row_a + row].x;
  if (begin == nobody) { return sum; }
  let exponent = exponent_at(p.row_a + row);
  for (var c = 0u; c < 4u; c++) {
    let at = p.row_b + other + c;
    if (other + c < p.rows_b && at >= begin && at <= p.row_a + row) {
      // Beyond these limits one of the two rows with itself is so much more that the term is nothing.
      let apart = clamp(exponent_at(at) - exponent, -120, 60);
      let twice = select(1.0, 2.0, at < p.row_a + row);
      let term = twice * (of_x[c] * of_dy_too[c] * power(apart));
      sum += vec2(term, abs(term));
    }
  }
  return sum;
}

var<workgroup> begins: array<u32, 128>;
var<workgroup> shared_first: u32;

// The sum of a row over the 16 invocations that share it, of what each has of its eight rows.
fn sum_of_row(t: u32, low: vec4<f32>, high: vec4<f32>) -> f32 {
  shared_a[2u * t] = bitcast<vec4<u32>>(low);
  shared_a[2u * t + 1u] = bitcast<vec4<u32>>(high);
  workgroupBarrier();
  var sum = 0.0;
  if (t < tile_rows) {
    for (var i = 0u; i < 16u; i++) {
      sum += bitcast<f32>(shared_a[2u * ((t >> 3u) * 16u + i) + ((t >> 2u) & 1u)][t & 3u]);
    }
  }
  workgroupBarrier();
  return sum;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let tile_row = (p.tile0 + group.x) * tile_rows;
  if (t < tile_rows) {
    begins[t] = nobody;
    if (tile_row + t < p.rows_a) { begins[t] = x_rows[p.row_a + tile_row + t].x; }
  }
  workgroupBarrier();
  for (var half = 64u; half > 0u; half >>= 1u) {
    if (t < half) { begins[t] = min(begins[t], begins[t + half]); }
    workgroupBarrier();
  }
  if (t == 0u) { shared_first = begins[0]; }
  let first = workgroupUniformLoad(&shared_first);
  if (first == nobody) { return; }
  // Those of the others that come before the last of the rows.
  let start = max(first, p.row_b) - p.row_b;
  let end = min(p.row_a + min(tile_row + tile_rows, p.rows_a) - p.row_b, p.rows_b);
  let row = tile_row + 8u * (t >> 4u);
  var s0 = vec2(0.0); var s1 = vec2(0.0); var s2 = vec2(0.0); var s3 = vec2(0.0);
  var s4 = vec2(0.0); var s5 = vec2(0.0); var s6 = vec2(0.0); var s7 = vec2(0.0);
  for (var others = (start / tile_columns + group.y) * tile_columns; others < end; others += p.split * tile_columns) {
    let of_x = products(t, tile_row, others, false);
    let of_dy_too = products(t, tile_row, others, true);
    let other = others + 4u * (t & 15u);
    s0 += terms(row, other, of_x.r0, of_dy_too.r0);
    s1 += terms(row + 1u, other, of_x.r1, of_dy_too.r1);
    s2 += terms(row + 2u, other, of_x.r2, of_dy_too.r2);
    s3 += terms(row + 3u, other, of_x.r3, of_dy_too.r3);
    s4 += terms(row + 4u, other, of_x.r4, of_dy_too.r4);
    s5 += terms(row + 5u, other, of_x.r5, of_dy_too.r5);
    s6 += terms(row + 6u, other, of_x.r6, of_dy_too.r6);
    s7 += terms(row + 7u, other, of_x.r7, of_dy_too.r7);
  }
  let sum = sum_of_row(t, vec4(s0.x, s1.x, s2.x, s3.x), vec4(s4.x, s5.x, s6.x, s7.x));
  let size = sum_of_row(t, vec4(s0.y, s1.y, s2.y, s3.y), vec4(s4.y, s5.y, s6.y, s7.y));
  if (t >= tile_rows || tile_row + t >= p.rows_a) { return; }
  let exponent = exponent_at(p.row_a + tile_row + t);
  var value = vec2(squared_scaled(sum, exponent), squared_scaled(size, exponent));
  let at = p.partials_at + (tile_row + t) * p.split + group.y;
  if (p.fresh == 0u) { value += partials[at]; }
  partials[at] = value;
}
#end

#if STAGE=total
#params sample0 count rows d outputs split offsets_at out_at bias
@group(0) @binding(0) var<storage, ${READ}> offsets: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> x_means: array<vec2<f32>>;
@group(0) @binding(2) var<storage, ${READ}> dy_means: array<vec2<f32>>;
@group(0) @binding(3) var<storage, ${READ}> x_rows: array<vec4<u32>>;
@group(0) @binding(4) var<storage, ${READ}> dy_rows: array<vec4<u32>>;
@group(0) @binding(5) var<storage, ${READ}> partials: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
// 1 for a sample that is to be made directly, 0 for the others.
@group(0) @binding(7) var<storage, read_write> flags: array<f32>;
#include pair
#include gather_pairs
#include power

// How large the magnitudes of all terms may be beside their sum; beyond, rounding could make the norm too small.
const cancelled = 16.0;

var<workgroup> greatest: array<vec2<u32>, 256>;

// The sum over the workgroup, which may be called again.
fn sum_of_all(t: u32, own: vec2<f32>) -> vec2<f32> {
  let sum = gather_pairs(t, own);
  workgroupBarrier();
  return sum;
}

fn magnitude(x: vec2<f32>) -> u32 {
  let bits = bitcast<vec2<u32>>(x) & vec2(0x7fffffffu);
  return max(bits.x, bits.y);
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  // The grid may have more workgroups than there are samples, which do the last once more.
  let number = min(group.x + group.y * groups.x, p.count - 1u);
  let sample = p.sample0 + number;
  let begin = min(offsets[p.offsets_at + sample], p.rows);
  let end = min(offsets[p.offsets_at + sample + 1u], p.rows);
  let of_x = number * p.d;
  let of_dy = number * p.outputs;
  // The four vectors are divided by powers of two, so that squares neither vanish nor overflow.
  var own = vec2(0u);
  for (var i = t; i < p.d; i += 256u) { own.x = max(own.x, magnitude(x_means[of_x + i])); }
  for (var i = t; i < p.outputs; i += 256u) { own.y = max(own.y, magnitude(dy_means[of_dy + i])); }
  greatest[t] = own;
  workgroupBarrier();
  for (var half = 128u; half > 0u; half >>= 1u) {
    if (t < half) { greatest[t] = max(greatest[t], greatest[t + half]); }
    workgroupBarrier();
  }
  let x_exponent = exponent_of(greatest[0].x);
  let dy_exponent = exponent_of(greatest[0].y);
  var sums = vec2(0.0);
  var means = vec2(0.0);
  var both = vec2(0.0);
  for (var i = t; i < p.d; i += 256u) {
    let mean = scaled(x_means[of_x + i].x, -x_exponent);
    let sum = scaled(x_means[of_x + i].y, -x_exponent);
    sums = add_to(sums, times(sum, sum));
    means = add_to(means, times(mean, mean));
    both = add_to(both, times(sum, mean));
  }
  var of_means = vec2(0.0);
  var rests = vec2(0.0);
  var of_both = vec2(0.0);
  var bias = vec2(0.0);
  let count = f32(end - begin);
  for (var i = t; i < p.outputs; i += 256u) {
    let mean = scaled(dy_means[of_dy + i].x, -dy_exponent);
    let rest = scaled(dy_means[of_dy + i].y, -dy_exponent);
    of_means = add_to(of_means, times(mean, mean));
    rests = add_to(rests, times(rest, rest));
    of_both = add_to(of_both, times(mean, rest));
    let sum = rest + count * mean;
    bias = add_to(bias, times(sum, sum));
  }
  sums = sum_of_all(t, sums);
  means = sum_of_all(t, means);
  both = sum_of_all(t, both);
  of_means = sum_of_all(t, of_means);
  rests = sum_of_all(t, rests);
  of_both = sum_of_all(t, of_both);
  bias = sum_of_all(t, bias);
  var sum = vec2(0.0);
  var size = vec2(0.0);
  for (var row = begin + t; row < end; row += 256u) {
    let x_row = bitcast<vec4<f32>>(x_rows[row]);
    let dy_row = bitcast<vec4<f32>>(dy_rows[row]);
    let exponent = bitcast<i32>(x_rows[row].y) + bitcast<i32>(dy_rows[row].y);
    let first = scaled(2.0 * x_row.w * dy_row.z, exponent);
    let second = scaled(2.0 * x_row.z * dy_row.w, exponent);
    sum = add_to(add_to(sum, first), second);
    size = add_to(size, abs(first) + abs(second));
    for (var i = 0u; i < p.split; i++) {
      sum = add_to(sum, partials[row * p.split + i].x);
      size = add_to(size, partials[row * p.split + i].y);
    }
  }
  sum = sum_of_all(t, sum);
  size = sum_of_all(t, size);
  if (t != 0u) { return; }
  let exponent = x_exponent + dy_exponent;
  let first = squared_scaled(value_of(of_means) * value_of(sums), exponent);
  let second = squared_scaled(value_of(rests) * value_of(means), exponent);
  let third = squared_scaled(2.0 * value_of(of_both) * value_of(both), exponent);
  sum = add_to(add_to(add_to(sum, first), second), third);
  let all = value_of(size) + abs(first) + abs(second) + abs(third);
  let sound = is_finite(all) && all <= cancelled * value_of(sum);
  var total = value_of(sum);
  if (p.bias == 1u) { total += squared_scaled(value_of(bias), dy_exponent); }
  out[p.out_at + sample] = select(0.0, total, begin < end);
  flags[sample] = select(0.0, 1.0, begin < end && !sound);
}
#end
