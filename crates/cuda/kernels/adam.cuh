// What steps of Adam store: numbers as they are, or bf16, to the nearest or by random bits.
#pragma once
#include "philox.cuh"

// The random bits of an element for parameter, m and v: Philox4x32-10, two words of it.
struct Noise {
  u32 half[3];
  DEVICE Noise(u64 stream, u64 seed, u64 i) {
    const Block4 block = philox4x32_10(u32(i), stream, seed);
    half[0] = block.w[0] & 0xFFFFu;
    half[1] = block.w[0] >> 16;
    half[2] = block.w[1] & 0xFFFFu;
  }
};

template <u32 NOISE>
DEVICE float rounded(float x, const u32 (&)[3], u32, Of<float>) {
  return x;
}
template <u32 NOISE>
DEVICE bf16 rounded(float x, const u32 (&half)[3], u32 which, Of<bf16>) {
  const u32 bits = float_bits(x);
  if (!NOISE || (bits & 0x7F800000u) == 0x7F800000u) return from_float<bf16>(x);
  return bf16{u16((bits + half[which]) >> 16)};
}
