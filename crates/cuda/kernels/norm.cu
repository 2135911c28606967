// norm: rows brought to a root mean square of 1, or to mean 0 and variance 1. A warp takes a short row, a block a long
// one; sums in f64. The row is read again for each sum and for the result, from the cache.
#include "team.cuh"

struct NormArgs {
  const void* x;
  const float* weight;  // [columns], or null.
  const float* bias;    // [columns], or null.
  void* out;
  u64 rows;
  u64 columns;
  float eps;
  u32 team;      // Threads: 32 or 256.
  u32 centered;  // Whether the mean is taken away.
};

template <class T, class Out>
DEVICE void norm(const NormArgs& args) {
  const u32 lane = threadIdx.x % args.team, of_block = BLOCK / args.team;
  const u64 step = u64(gridDim.x) * of_block;
  const double n = double(args.columns);
  for (u64 row = u64(blockIdx.x) * of_block + threadIdx.x / args.team; row < args.rows; row += step) {
    const T* x = static_cast<const T*>(args.x) + row * args.columns;
    Out* out = static_cast<Out*>(args.out) + row * args.columns;
    double mean = 0.0;
    if (args.centered) {
      Sum sum = Sum::start();
      stream(x, args.columns, lane, args.team, [&](const auto& v, u64 i) { sum.take(v, i); });
      mean = team_total(sum, args.team) / n;
    }
    Sum squares = Sum::start();
    stream(x, args.columns, lane, args.team, [&](const auto& v, u64) {
      UNROLL
      for (u32 i = 0; i < sizeof(v) / sizeof(float); i++) squares.sum += (double(v[i]) - mean) * (double(v[i]) - mean);
    });
    const double scale = 1.0 / sqrt(team_total(squares, args.team) / n + double(args.eps));
    for (u64 j = lane; j < args.columns; j += args.team) {
      float z = float((double(to_float(x[j])) - mean) * scale);
      if (args.weight) z *= args.weight[j];
      if (args.bias) z += args.bias[j];
      out[j] = from_float<Out>(z);
    }
  }
}

#define NORM(x, out, X, Out) KERNEL(norm_##x##_##out, NormArgs, norm<X, Out>(args))
NORM(f32, f32, float, float)
NORM(f32, bf16, float, bf16)
NORM(f32, f16, float, f16)
NORM(bf16, f32, bf16, float)
NORM(bf16, bf16, bf16, bf16)
NORM(bf16, f16, bf16, f16)
NORM(f16, f32, f16, float)
NORM(f16, bf16, f16, bf16)
NORM(f16, f16, f16, f16)
