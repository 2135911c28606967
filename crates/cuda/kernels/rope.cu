// rope: pairs of components turned in place, a warp a row, a thread a pair.
#include "common.cuh"

struct RopeArgs {
  void* x;
  const float* cos;  // [positions, pairs]
  const float* sin;
  const u32* places;  // The position of each row.
  u32* status;
  u64 rows;
  u64 positions;
  u32 heads;
  u32 head_dim;
  u32 pairs;
  u32 interleaved;
  u32 is_signed;
};

template <class T>
DEVICE void rope(const RopeArgs& args) {
  const u32 lane = threadIdx.x % WARP;
  const u64 warp = u64(blockIdx.x) * (BLOCK / WARP) + threadIdx.x / WARP, warps = u64(gridDim.x) * (BLOCK / WARP);
  for (u64 row = warp; row < args.rows; row += warps) {
    const u64 place = index_at(args.places, row, args.is_signed);
    if (place >= args.positions) {
      if (lane == 0) report_fault(args.status, row);
      continue;
    }
    const float* cos = args.cos + place * args.pairs;
    const float* sin = args.sin + place * args.pairs;
    T* x = static_cast<T*>(args.x) + row * args.heads * args.head_dim;
    for (u32 i = lane; i < args.heads * args.pairs; i += WARP) {
      const u32 head = i / args.pairs, pair = i % args.pairs;
      T* at = x + head * args.head_dim + (args.interleaved ? 2 * pair : pair);
      T& first = at[0];
      T& second = at[args.interleaved ? 1 : args.pairs];
      const float a = to_float(first), b = to_float(second), c = cos[pair], s = sin[pair];
      first = from_float<T>(a * c - b * s);
      second = from_float<T>(b * c + a * s);
    }
  }
}

KERNEL(rope_f32, RopeArgs, rope<float>(args))
KERNEL(rope_bf16, RopeArgs, rope<bf16>(args))
KERNEL(rope_f16, RopeArgs, rope<f16>(args))
