// int4_unpack: the numbers that codes of 4 bits stand for, a word of eight a thread.
#include "exact.cuh"

struct Int4UnpackArgs {
  const u32* codes;
  const float* scales;
  const u32* zeros;
  float* out;
  u64 n;
};

DEVICE void unpack_codes(const Int4UnpackArgs& args) {
  const u64 words = (args.n + 7) / 8, threads = u64(gridDim.x) * BLOCK;
  for (u64 word = u64(blockIdx.x) * BLOCK + threadIdx.x; word < words; word += threads) {
    const u32 codes = args.codes[word], bits = float_bits(args.scales[word / 32]);
    const i32 zero = i32(args.zeros[word / 32] & 15);
    const u32 exponent = bits & 0x7F800000u;
    // A scale below the normal numbers is 0.
    const float scale = exponent == 0 ? 0.0f : bits_float(bits);
    const u64 left = args.n - word * 8;
    for (u32 e = 0; e < 8 && e < left; e++) {
      const float steps = float(i32(codes >> (4 * e) & 15) - zero);
      args.out[word * 8 + e] = exponent == 0x7F800000u ? nan() : multiply(steps, scale);
    }
  }
}

KERNEL(int4_unpack, Int4UnpackArgs, unpack_codes(args))
