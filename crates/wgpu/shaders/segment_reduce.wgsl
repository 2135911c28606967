// out[s] = sum, maximum or sum of squares of x[offsets[s] .. offsets[s + 1]].
#params segments segment0 parts states state0 window window_len values x_at offsets_at out_at slot
#include bits
@group(0) @binding(0) var<storage, ${READ}> offsets: array<u32>;
@group(0) @binding(1) var<storage, read_write> faults: array<atomic<u32>>;
#if STAGE=partial
@group(0) @binding(2) var<storage, read_write> states: array<vec4<u32>>;
#else
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
fn finish(segment: u32, tokens: u32, state: vec4<u32>) { out[p.out_at + segment] = result_bits(state); }
fn fail(segment: u32) { out[p.out_at + segment] = 0x7fc00000u; }
#end
const no_state = vec4<u32>(0u);
#include reduction
#if STAGE=merge
@group(0) @binding(3) var<storage, ${READ}> states: array<vec4<u32>>;
#else
@group(0) @binding(3) var<storage, ${READ}> x: array<vec4<u32>>;
#include stream dtype=${X}
fn stream_segment(begin: u32, end: u32, t: u32) -> vec4<u32> { return stream(p.x_at + begin, p.x_at + end, t); }
#end
#include segments
