// out[i, j] = keep * out[i, j] - step * factors[channel] * grad[i, j], where the channel is the row, or with ACROSS the
// column. Elements are numbered from the first of the dispatch, which lies in column p.column0 of what the factors begin
// with, and is number p.first of the tensor.
#params n out_at first grad_at factors_at column0 columns step keep seed_lo seed_hi stream_lo stream_hi
#include bits
@group(0) @binding(0) var<storage, read_write> out: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> grad: array<u32>;
@group(0) @binding(2) var<storage, ${READ}> factors: array<u32>;
#include load name=grad dtype=${G}
#include words
#if NOISE=1
#include philox
// The random bits of an element: half `which` of its block.
fn noise(i: u32, which: u32) -> u32 {
  let block = philox4x32_10(vec4(p.first + i, 0u, p.stream_lo, p.stream_hi), vec2(p.seed_lo, p.seed_hi));
  return (block[which >> 1u] >> (16u * (which & 1u))) & 0xffffu;
}
#end
#include adam_stored
const half = 0u;

fn element(i: u32) -> u32 {
#if ACROSS=1
  let channel = (p.column0 + i) % p.columns;
#else
  let channel = (p.column0 + i) / p.columns;
#end
  let factor = factors[p.factors_at + channel];
  let g = grad_load(p.grad_at + i);
  // 2^60 at the most, and a factor that is finite.
  let counts = (bitcast<u32>(g) & 0x7fffffffu) <= 0x5d800000u && (factor & 0x7f800000u) != 0x7f800000u;
  if (!counts) { return out_raw(p.out_at + i); }
  let by = bitcast<f32>(p.step) * bitcast<f32>(factor);
  return stored(bitcast<f32>(p.keep) * out_load(p.out_at + i) - by * g, i);
}
