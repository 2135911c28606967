// out[r] = sum, maximum or sum of squares of x[r, ..].
#params units x_at stride columns segs seg seg0 unit0 out_at
#include bits
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
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
fn finish(row: u32, state: vec4<u32>) { out[p.out_at + row] = result_bits(state); }
#end
const no_state = vec4<u32>(0u);
#include reduction
#if STAGE=whole|partial
#include stream dtype=${X}
fn stream_row(begin: u32, end: u32, t: u32, segment: u32) -> vec4<u32> { return stream(begin, end, t); }
fn extra(row: u32, begin: u32, segment: u32, len: u32, state: vec4<u32>) -> vec4<u32> { return state; }
#end
#include rows
