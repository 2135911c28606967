// quantize_rtn: groups rounded to a few levels and back, as `RtnRule` of the core defines it; a warp a group. Products,
// quotients and differences are each rounded by themselves.
#include "exact.cuh"
#include "reduce.cuh"

struct QuantizeRtnArgs {
  const void* x;
  void* out;
  u64 groups;
  u64 group;
  float levels;
  float clip;
  u32 symmetric;
};

constexpr u32 MOST = 0x7E000000u;  // 2^125.
constexpr u32 LEAST = 0x0D800000u;  // 2^-100.

// Bits of magnitudes: of the numbers below zero, and of those above; NaN is above everything.
struct Ends {
  u32 below;
  u32 above;
  DEVICE void merge(const Ends& other) {
    below = below > other.below ? below : other.below;
    above = above > other.above ? above : other.above;
  }
};

struct Grid {
  float inverse;
  float scale;
  float low;
  float high;
};

DEVICE Grid grid_of(const Ends& ends, const QuantizeRtnArgs& args) {
  if (ends.below > MOST || ends.above > MOST) return Grid{0.0f, nan(), 0.0f, 0.0f};
  const float below = multiply(args.clip, bits_float(ends.below)), above = multiply(args.clip, bits_float(ends.above));
  const float extent = args.symmetric ? (above > below ? above : below) : add(above, below);
  if (extent < bits_float(LEAST)) return Grid{0.0f, 0.0f, 0.0f, 0.0f};
  const float inverse = divide(args.levels, extent), scale = divide(extent, args.levels);
  if (args.symmetric) return Grid{inverse, scale, -args.levels - 1.0f, args.levels};
  const float zero = least(rintf(multiply(below, inverse)), args.levels);
  return Grid{inverse, scale, -zero, args.levels - zero};
}

template <class T>
DEVICE void quantize_rtn(const QuantizeRtnArgs& args) {
  const u32 lane = threadIdx.x % WARP;
  const u64 warp = u64(blockIdx.x) * (BLOCK / WARP) + threadIdx.x / WARP, warps = u64(gridDim.x) * (BLOCK / WARP);
  for (u64 g = warp; g < args.groups; g += warps) {
    const T* x = static_cast<const T*>(args.x) + g * args.group;
    T* out = static_cast<T*>(args.out) + g * args.group;
    Ends ends = {0, 0};
    stream(x, args.group, lane, WARP, [&](const auto& v, u64) {
      UNROLL
      for (u32 i = 0; i < sizeof(v) / sizeof(float); i++) {
        const u32 bits = float_bits(v[i]), magnitude = bits & 0x7FFFFFFFu;
        ends.merge(bits >> 31 ? Ends{magnitude, 0} : Ends{0, magnitude});
      }
    });
    merge_warp(ends);
    const Grid grid = grid_of(ends, args);
    for (u64 j = lane; j < args.group; j += WARP) {
      float level = rintf(multiply(to_float(x[j]), grid.inverse));
      level = level < grid.low ? grid.low : level;
      level = level > grid.high ? grid.high : level;
      // No zero has a sign.
      out[j] = from_float<T>(multiply(add(level, 0.0f), grid.scale));
    }
  }
}

KERNEL(quantize_rtn_f32, QuantizeRtnArgs, quantize_rtn<float>(args))
KERNEL(quantize_rtn_bf16, QuantizeRtnArgs, quantize_rtn<bf16>(args))
KERNEL(quantize_rtn_f16, QuantizeRtnArgs, quantize_rtn<f16>(args))
