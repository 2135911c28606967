// Norms and factors of rows (PASS=norms, in the stages of `rows`), then sums of scaled rows, column by column
// (PASS=sum: of p.rows_each rows at a time, then once more of what that gave).
#if PASS=norms
#params units x_at stride columns segs seg seg0 unit0 norms_at factors_at max_norm
#include bits
#if STAGE=merge
@group(0) @binding(0) var<storage, ${READ}> states: array<vec4<u32>>;
#else
@group(0) @binding(0) var<storage, ${READ}> x: array<vec4<u32>>;
#end
#if STAGE=partial
@group(0) @binding(1) var<storage, read_write> states: array<vec4<u32>>;
#else
@group(0) @binding(1) var<storage, read_write> norms: array<u32>;
@group(0) @binding(2) var<storage, read_write> factors: array<u32>;

fn finish(row: u32, state: vec4<u32>) {
  let s = bitcast<vec4<f32>>(state);
  let medium = rounded(s.y, s.z);
  // The square of a scale is no f32, but the product with it twice is.
  var norm = 0.0;
  if (state.x != 0u) {
    norm = sqrt(s.x + medium * shrink * shrink) * grow;
  } else if (medium != 0.0) {
    norm = sqrt(medium + s.w * shrink * shrink);
  } else {
    norm = sqrt(s.w) * shrink;
  }
  var factor = 1.0;
  if (norm > 0.0) { factor = min(1.0, bitcast<f32>(p.max_norm) / norm); }
  if ((bitcast<u32>(norm) & 0x7f800000u) == 0x7f800000u) { factor = 0.0; }
  norms[p.norms_at + row] = bitcast<u32>(norm);
  factors[p.factors_at + row] = bitcast<u32>(factor);
}
#end

// A state is (sum of squares of large numbers scaled down, of medium ones and what rounding lost, of small ones scaled
// up), so that no square overflows or vanishes (Blue 1978).
const grow = 0x1p90f;
const shrink = 0x1p-90f;
const no_state = vec4<u32>(0u);
#include sum
fn merge(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
  let u = bitcast<vec4<f32>>(a);
  let v = bitcast<vec4<f32>>(b);
  let medium = add_pairs(vec4(u.yz, 0.0, 0.0), vec4(v.yz, 0.0, 0.0));
  return bitcast<vec4<u32>>(vec4(u.x + v.x, medium.xy, u.w + v.w));
}
#if STAGE=whole|partial
struct Acc { large: vec4<f32>, medium: Sum4, small: vec4<f32> }
fn start_acc() -> Acc { return Acc(vec4(0.0), Sum4(vec4(0.0), vec4(0.0)), vec4(0.0)); }
fn take(acc: ptr<function, Acc>, z: vec4<f32>, at: vec4<u32>, inside: vec4<bool>) {
  let magnitude = bitcast<vec4<u32>>(z) & vec4(0x7fffffffu);
  // At least 2^46 (or not finite), and below 2^-50.
  let large = inside & (magnitude >= vec4(0x56800000u));
  let small = inside & (magnitude < vec4(0x26800000u));
  let down = select(vec4(0.0), z * shrink, large);
  let up = select(vec4(0.0), z * grow, small);
  let medium = select(z, vec4(0.0), large | small | !inside);
  (*acc).large += down * down;
  (*acc).small += up * up;
  let s = two_sum((*acc).medium.high, medium * medium);
  (*acc).medium = Sum4(s.high, (*acc).medium.low + s.low);
}
fn fold(acc: Acc) -> vec4<u32> {
  let large = acc.large.xy + acc.large.zw;
  let small = acc.small.xy + acc.small.zw;
  return bitcast<vec4<u32>>(vec4(large.x + large.y, fold_sum(acc.medium), small.x + small.y));
}
#include stream dtype=${X}
fn stream_row(begin: u32, end: u32, t: u32, segment: u32) -> vec4<u32> { return stream(begin, end, t); }
fn extra(row: u32, begin: u32, segment: u32, len: u32, state: vec4<u32>) -> vec4<u32> { return state; }
#end
#include rows
#end

#if PASS=sum
#params rows rows_each columns stride x_at out_at out_stride factors_at
#include bits
#include sum
@group(0) @binding(0) var<storage, ${READ}> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
#if FACTORS=1
@group(0) @binding(2) var<storage, ${READ}> factors: array<u32>;
#end
#include load name=x dtype=${X}

fn term(row: u32, last: u32, column: u32) -> f32 {
  if (row >= last) { return 0.0; }
  let value = x_load(p.x_at + row * p.stride + column);
#if FACTORS=1
  let factor = bitcast<f32>(factors[p.factors_at + row]);
  // Also where the value is infinite or NaN.
  return select(factor * value, 0.0, factor == 0.0);
#else
  return value;
#end
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let across = (p.columns + 255u) / 256u;
  let g = group.x + group.y * groups.x;
  let block = g / across;
  let column = (g % across) * 256u + t;
  let first = block * p.rows_each;
  // The first block also when there are no rows.
  if (column >= p.columns || (block > 0u && first >= p.rows)) { return; }
  let last = min(first + p.rows_each, p.rows);
  var acc = Sum4(vec4(0.0), vec4(0.0));
  for (var row = first; row < last; row += 4u) {
    let terms = vec4(
      term(row, last, column), term(row + 1u, last, column),
      term(row + 2u, last, column), term(row + 3u, last, column),
    );
    let s = two_sum(acc.high, terms);
    acc = Sum4(s.high, acc.low + s.low);
  }
  let total = fold_sum(acc);
  out[p.out_at + block * p.out_stride + column] = bitcast<u32>(rounded(total.x, total.y));
}
#end
