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
  let norm = norm_of(state);
  var factor = 1.0;
  if (norm > 0.0) { factor = min(1.0, bitcast<f32>(p.max_norm) / norm); }
  if ((bitcast<u32>(norm) & 0x7f800000u) == 0x7f800000u) { factor = 0.0; }
  norms[p.norms_at + row] = bitcast<u32>(norm);
  factors[p.factors_at + row] = bitcast<u32>(factor);
}
#end

#include squares
const no_state = vec4<u32>(0u);
#if STAGE=whole|partial
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
