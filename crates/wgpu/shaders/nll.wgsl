// out[r] = ln sum_j exp(z[r, j]) - z[r, targets[r]] with z = cap * tanh((logits + bias) / cap). Its last stage also
// serves linear_nll.
#params units x_at stride columns segs seg seg0 unit0 out_at targets_at bias_at bias_seg0 cap vocab row0 slot
#include bits
#include math
#include lse
#if STAGE=merge
@group(0) @binding(0) var<storage, ${READ}> states: array<vec4<u32>>;
#else
@group(0) @binding(0) var<storage, ${READ}> x: array<vec4<u32>>;
#end
#if STAGE=partial
@group(0) @binding(1) var<storage, read_write> states: array<vec4<u32>>;
@group(0) @binding(2) var<storage, ${READ}> targets: array<u32>;
#if BIAS=1
@group(0) @binding(3) var<storage, ${READ}> bias: array<u32>;
#end
#else
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
@group(0) @binding(2) var<storage, read_write> faults: array<atomic<u32>>;
@group(0) @binding(3) var<storage, ${READ}> targets: array<u32>;
#if STAGE=whole BIAS=1
@group(0) @binding(4) var<storage, ${READ}> bias: array<u32>;
#end
#include target
fn finish(row: u32, state: vec4<u32>) { out[p.out_at + row] = loss(row, state, targets[p.targets_at + row]); }
#end
#if STAGE=whole|partial
// The first column of the unit.
var<private> column0: u32;
fn logit(x: f32, column: u32) -> f32 {
  var z = x;
#if BIAS=1
  z += bitcast<f32>(bias[p.bias_at + column]);
#end
#if CAP=1
  // NaN passes through.
  z = bitcast<f32>(p.cap) * tanh_f32(z / bitcast<f32>(p.cap)) + select(0.0, z, (bitcast<u32>(z) & 0x7fffffffu) > infinite);
#end
  return z;
}
alias Acc = Lse4;
fn start_acc() -> Acc { return start_lse(); }
fn take(acc: ptr<function, Acc>, x: vec4<f32>, at: vec4<u32>, inside: vec4<bool>) {
#if BIAS=1 CAP=0
  let z = x + bitcast<vec4<f32>>(vec4(
    bias[p.bias_at + column0 + select(0u, at.x, inside.x)], bias[p.bias_at + column0 + select(0u, at.y, inside.y)],
    bias[p.bias_at + column0 + select(0u, at.z, inside.z)], bias[p.bias_at + column0 + select(0u, at.w, inside.w)],
  ));
#end
#if BIAS=0 CAP=0
  let z = x;
#end
#if CAP=1
  let c = vec4(column0) + select(vec4(0u), at, inside);
  let z = vec4(logit(x.x, c.x), logit(x.y, c.y), logit(x.z, c.z), logit(x.w, c.w));
#end
  take_lse(acc, z, inside);
}
fn fold(acc: Acc) -> vec4<u32> { return fold_lse(acc, 0xffffffffu); }
#include stream dtype=${X}
fn stream_row(begin: u32, end: u32, t: u32, segment: u32) -> vec4<u32> {
  column0 = (segment - p.bias_seg0) * p.seg;
  return stream(begin, end, t);
}
// The logit of the target, if it is in this segment.
fn extra(row: u32, begin: u32, segment: u32, len: u32, state: vec4<u32>) -> vec4<u32> {
  let place = targets[p.targets_at + row] - segment * p.seg;
  if (place >= len) { return state; }
  let i = begin + place;
  let word = x[i >> (x_shift + 2u)][(i >> x_shift) & 3u];
  let z = logit(x_number(x_bits(word, i & (x_per - 1u))), column0 + place);
  return vec4(state.xyz, bitcast<u32>(z));
}
#end
#include rows
