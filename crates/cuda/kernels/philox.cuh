// Philox4x32-10 (Salmon et al. 2011): four words from the number of a block, a stream and a seed.
#pragma once
#include "common.cuh"

struct Block4 {
  u32 w[4];
};

DEVICE Block4 philox4x32_10(u64 block, u64 stream, u64 seed) {
  u32 c0 = u32(block), c1 = u32(block >> 32), c2 = u32(stream), c3 = u32(stream >> 32);
  u32 k0 = u32(seed), k1 = u32(seed >> 32);
  UNROLL
  for (int round = 0; round < 10; round++) {
    const u32 high0 = multiply_high(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
    const u32 high1 = multiply_high(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return Block4{{c0, c1, c2, c3}};
}
