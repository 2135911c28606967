// kurtosis: the mean of fourth powers of a row over its squared variance, less 3. A warp takes a short row, a block a long
// one; sums in f64. The row is read again for each sum, from the cache.
#include "team.cuh"

struct KurtosisArgs {
  const void* x;
  float* out;
  u64 rows;
  u64 columns;
  u32 team;      // Threads: 32 or 256.
  u32 centered;  // Whether the mean is taken away from fourth powers too.
};

template <class T>
DEVICE void kurtosis(const KurtosisArgs& args) {
  const u32 lane = threadIdx.x % args.team, of_block = BLOCK / args.team;
  const u64 step = u64(gridDim.x) * of_block;
  const double n = double(args.columns);
  for (u64 row = u64(blockIdx.x) * of_block + threadIdx.x / args.team; row < args.rows; row += step) {
    const T* x = static_cast<const T*>(args.x) + row * args.columns;
    const auto mean_of = [&](auto term) {
      Sum sum = Sum::start();
      stream(x, args.columns, lane, args.team, [&](const auto& v, u64) {
        UNROLL
        for (u32 i = 0; i < sizeof(v) / sizeof(float); i++) sum.sum += term(double(v[i]));
      });
      return team_total(sum, args.team) / n;
    };
    // What is told from the first number is 0 for a row of equal numbers, and exact enough for one far from zero.
    const double first = args.columns ? double(to_float(x[0])) : 0.0;
    const double spread = mean_of([&](double v) { return v < first ? first - v : v - first; });
    const double mean = first + mean_of([&](double v) { return v - first; });
    const double variance = mean_of([&](double v) { return (v - mean) * (v - mean); });
    const double center = args.centered ? mean : 0.0;
    const double fourth = mean_of([&](double v) { return (v - center) * (v - center) * ((v - center) * (v - center)); });
    if (lane == 0) args.out[row] = spread > 0.0 ? float(fourth / (variance * variance) - 3.0) : nan();
  }
}

KERNEL(kurtosis_f32, KurtosisArgs, kurtosis<float>(args))
KERNEL(kurtosis_bf16, KurtosisArgs, kurtosis<bf16>(args))
KERNEL(kurtosis_f16, KurtosisArgs, kurtosis<f16>(args))
