// gaussian_noise: y = (y + std N) scale. A thread makes one block of its generator: a pair of numbers with Philox, four
// with ChaCha20.
#include "normal.cuh"
#include "philox.cuh"

struct GaussianNoiseArgs {
  float* y;
  u64 n;
  u32 key[8];
  u32 step[2];
  u32 tensor;
  float std;
  float scale;
};

DEVICE void put(const GaussianNoiseArgs& args, u64 i, float normal) {
  if (i < args.n) args.y[i] = multiply(add(args.y[i], multiply(args.std, normal)), args.scale);
}

DEVICE void put_pair(const GaussianNoiseArgs& args, u64 pair, const u32* w) {
  const Pair normal = normal_pair(w[0], w[1], w[2], w[3]);
  put(args, 2 * pair, normal.first);
  put(args, 2 * pair + 1, normal.second);
}

DEVICE void noise_philox(const GaussianNoiseArgs& args) {
  const u64 threads = u64(gridDim.x) * BLOCK;
  const u64 seed = u64(args.key[1]) << 32 | args.key[0], stream = u64(args.step[1]) << 32 | args.step[0];
  for (u64 pair = u64(blockIdx.x) * BLOCK + threadIdx.x; 2 * pair < args.n; pair += threads) {
    const Block4 block = philox4x32_10(u64(args.tensor) << 32 | u32(pair), stream, seed);
    put_pair(args, pair, block.w);
  }
}

DEVICE u32 rotate(u32 x, u32 by) { return x << by | x >> (32 - by); }

DEVICE void quarter(u32& a, u32& b, u32& c, u32& d) {
  a += b, d = rotate(d ^ a, 16);
  c += d, b = rotate(b ^ c, 12);
  a += b, d = rotate(d ^ a, 8);
  c += d, b = rotate(b ^ c, 7);
}

// The block of RFC 8439, 2.3.
DEVICE void noise_chacha20(const GaussianNoiseArgs& args) {
  const u64 threads = u64(gridDim.x) * BLOCK;
  for (u64 block = u64(blockIdx.x) * BLOCK + threadIdx.x; 8 * block < args.n; block += threads) {
    const u32* k = args.key;
    const u32 start[16] = {0x61707865u, 0x3320646Eu, 0x79622D32u, 0x6B206574u, k[0], k[1], k[2], k[3],
                           k[4], k[5], k[6], k[7], u32(block), args.tensor, args.step[0], args.step[1]};
    u32 x[16];
    UNROLL
    for (u32 i = 0; i < 16; i++) x[i] = start[i];
    for (u32 round = 0; round < 10; round++) {
      UNROLL
      for (u32 i = 0; i < 4; i++) quarter(x[i], x[4 + i], x[8 + i], x[12 + i]);
      UNROLL
      for (u32 i = 0; i < 4; i++) quarter(x[i], x[4 + (i + 1) % 4], x[8 + (i + 2) % 4], x[12 + (i + 3) % 4]);
    }
    UNROLL
    for (u32 i = 0; i < 16; i++) x[i] += start[i];
    UNROLL
    for (u32 i = 0; i < 4; i++) put_pair(args, 4 * block + i, x + 4 * i);
  }
}

KERNEL(gaussian_noise_philox, GaussianNoiseArgs, noise_philox(args))
KERNEL(gaussian_noise_chacha20, GaussianNoiseArgs, noise_chacha20(args))
