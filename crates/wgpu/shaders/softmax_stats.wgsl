// max[r] = max_j x[r, j] and lse[r] = max[r] + ln sum_j exp(x[r, j] - max[r]).
#params units x_at stride columns segs seg seg0 unit0 max_at lse_at
#include bits
#include math
#include lse
#if STAGE=whole|partial
@group(0) @binding(0) var<storage, ${READ}> x: array<vec4<u32>>;
#end
#if STAGE=partial
@group(0) @binding(1) var<storage, read_write> states: array<vec4<u32>>;
#end
#if STAGE=merge
@group(0) @binding(0) var<storage, ${READ}> states: array<vec4<u32>>;
#end
#if STAGE=whole|merge
@group(0) @binding(1) var<storage, read_write> row_max: array<u32>;
@group(0) @binding(2) var<storage, read_write> row_lse: array<u32>;

fn finish(row: u32, state: vec4<u32>) {
  let m = bitcast<f32>(state.x);
  let s = bitcast<f32>(state.y);
  var results = vec2(state.x, 0u);
  if (state.z > infinite) {
    results = vec2(0x7fc00000u);
  } else if (state.z == infinite) {
    results = vec2(infinite, 0x7fc00000u);
  } else if (s == 0.0) {
    results = vec2(0xff800000u);
  } else {
    results.y = bitcast<u32>(m + ln_f32(s));
  }
  row_max[p.max_at + row] = results.x;
  row_lse[p.lse_at + row] = results.y;
}
#end
#if STAGE=whole|partial
alias Acc = Lse4;
fn start_acc() -> Acc { return start_lse(); }
fn take(acc: ptr<function, Acc>, z: vec4<f32>, at: vec4<u32>, inside: vec4<bool>) { take_lse(acc, z, inside); }
fn fold(acc: Acc) -> vec4<u32> { return fold_lse(acc, 0xffffffffu); }
#include stream dtype=${X}
fn stream_row(begin: u32, end: u32, t: u32, segment: u32) -> vec4<u32> { return stream(begin, end, t); }
fn extra(row: u32, begin: u32, segment: u32, len: u32, state: vec4<u32>) -> vec4<u32> { return state; }
#end
#include rows
