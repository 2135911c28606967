// int4_pack: codes of 4 bits, a warp for each group of 256 numbers, eight of them (a word of codes) a lane.
#include "exact.cuh"

struct Int4PackArgs {
  const float* x;
  u32* codes;
  float* scales;
  u32* zeros;
  u64 n;
};

constexpr u32 GROUP = 256;
constexpr u32 EACH = GROUP / WARP;

DEVICE u32 code_of(float x, float scale, u32 zero) {
  u32 code = 0;
  UNROLL
  for (i32 k = 0; k < 15; k++) {
    const i32 steps = k - i32(zero);
    const float middle = multiply(scale, float(steps) + 0.5f);
    code += x > middle || (x == middle && (steps & 1) != 0);
  }
  return code;
}

DEVICE void pack(const Int4PackArgs& args) {
  const u32 lane = threadIdx.x % WARP;
  const u64 groups = (args.n + GROUP - 1) / GROUP, warps = u64(gridDim.x) * (BLOCK / WARP);
  for (u64 group = u64(blockIdx.x) * (BLOCK / WARP) + threadIdx.x / WARP; group < groups; group += warps) {
    const u64 first = group * GROUP + lane * EACH;
    float values[EACH];
    // The greatest finite number, so that what is behind the last is no minimum, and no maximum.
    float low = bits_float(0x7F7FFFFFu), high = -low;
    u32 lost = 0;
    UNROLL
    for (u32 e = 0; e < EACH; e++) {
      const bool inside = first + e < args.n;
      values[e] = inside ? args.x[first + e] : 0.0f;
      const bool special = (float_bits(values[e]) & 0x7F800000u) == 0x7F800000u;
      lost |= special;
      if (inside && !special) {
        low = values[e] < low ? values[e] : low;
        high = values[e] > high ? values[e] : high;
      }
    }
    UNROLL
    for (u32 mask = WARP / 2; mask > 0; mask /= 2) {
      const float other_low = bits_float(shuffle_xor(float_bits(low), mask));
      const float other_high = bits_float(shuffle_xor(float_bits(high), mask));
      low = other_low < low ? other_low : low;
      high = other_high > high ? other_high : high;
      lost |= shuffle_xor(lost, mask);
    }
    const float range = add(high, -low);
    const bool whole = lost == 0 && (float_bits(range) & 0x7F800000u) != 0x7F800000u;
    const float scale = multiply(range > 1e-5f ? range : 1e-5f, 1.0f / 15.0f);
    const u32 zero = code_of(-low, scale, 0);
    u32 word = 0;
    UNROLL
    for (u32 e = 0; e < EACH; e++)
      if (whole && first + e < args.n) word |= code_of(values[e], scale, zero) << (4 * e);
    if (first < args.n) args.codes[first / EACH] = word;
    if (lane == 0) {
      args.scales[group] = whole ? scale : nan();
      args.zeros[group] = whole ? zero : 0;
    }
  }
}

KERNEL(int4_pack, Int4PackArgs, pack(args))
