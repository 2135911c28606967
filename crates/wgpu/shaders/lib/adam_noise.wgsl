#include philox
// The random bits of an element: half `which` of its block. Elements are numbered from the first of the dispatch, which is
// number p.first of the tensor.
fn noise(i: u32, which: u32) -> u32 {
  let block = philox4x32_10(vec4(p.first + i, 0u, p.stream_lo, p.stream_hi), vec2(p.seed_lo, p.seed_hi));
  return (block[which >> 1u] >> (16u * (which & 1u))) & 0xffffu;
}
