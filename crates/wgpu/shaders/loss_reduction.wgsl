// Sums of two losses over each document, and their difference for each token; a state is (prior, what rounding lost,
// conditional, what rounding lost).
#params segments segment0 parts states state0 window window_len values prior_at conditional_at offsets_at prior_sum_at conditional_sum_at score_at slot
#include sum
@group(0) @binding(0) var<storage, ${READ}> offsets: array<u32>;
@group(0) @binding(1) var<storage, read_write> faults: array<atomic<u32>>;
#if STAGE=partial
@group(0) @binding(2) var<storage, read_write> states: array<vec4<u32>>;
@group(0) @binding(3) var<storage, ${READ}> prior: array<u32>;
@group(0) @binding(4) var<storage, ${READ}> conditional: array<u32>;
#else
@group(0) @binding(2) var<storage, read_write> prior_sum: array<u32>;
@group(0) @binding(3) var<storage, read_write> conditional_sum: array<u32>;
@group(0) @binding(4) var<storage, read_write> score: array<u32>;
#end
#if STAGE=whole
@group(0) @binding(5) var<storage, ${READ}> prior: array<u32>;
@group(0) @binding(6) var<storage, ${READ}> conditional: array<u32>;
#end
#if STAGE=merge
@group(0) @binding(5) var<storage, ${READ}> states: array<vec4<u32>>;
#end

const no_state = vec4<u32>(0u);
fn merge(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
  return bitcast<vec4<u32>>(add_pairs(bitcast<vec4<f32>>(a), bitcast<vec4<f32>>(b)));
}

#if STAGE=whole|partial
fn stream_segment(begin: u32, end: u32, t: u32) -> vec4<u32> {
  var acc = Sum4(vec4(0.0), vec4(0.0));
  for (var i = begin + t; i < end; i += ${THREADS}u) {
    let term = bitcast<vec2<f32>>(vec2(prior[p.prior_at + i], conditional[p.conditional_at + i]));
    let s = two_sum(acc.high, vec4(term, 0.0, 0.0));
    acc = Sum4(s.high, acc.low + s.low);
  }
  return bitcast<vec4<u32>>(vec4(acc.high.x, acc.low.x, acc.high.y, acc.low.y));
}
#end

#if STAGE=whole|merge
fn finish(segment: u32, tokens: u32, state: vec4<u32>) {
  let s = bitcast<vec4<f32>>(state);
  prior_sum[p.prior_sum_at + segment] = bitcast<u32>(rounded(s.x, s.y));
  conditional_sum[p.conditional_sum_at + segment] = bitcast<u32>(rounded(s.z, s.w));
  // The difference before anything is rounded away.
  let difference = add_pairs(vec4(s.xy, 0.0, 0.0), vec4(-s.zw, 0.0, 0.0));
  let each = rounded(difference.x, difference.y) / f32(max(tokens, 1u));
  score[p.score_at + segment] = select(bitcast<u32>(each), 0x7fc00000u, tokens == 0u);
}
fn fail(segment: u32) {
  prior_sum[p.prior_sum_at + segment] = 0x7fc00000u;
  conditional_sum[p.conditional_sum_at + segment] = 0x7fc00000u;
  score[p.score_at + segment] = 0x7fc00000u;
}
#end
#include segments
