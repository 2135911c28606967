// grid_sum: scaled rows, rounded to whole steps of a grid and added in 64-bit integers, a thread a column.
#include "exact.cuh"

struct GridSumArgs {
  const float* rows;
  const float* factors;
  u32* sums;  // [n, 2]: low words and high ones.
  u32* status;
  u64 samples;
  u64 n;
  float reciprocal;
};

DEVICE void add_rows(const GridSumArgs& args) {
  const u64 threads = u64(gridDim.x) * BLOCK;
  for (u64 column = u64(blockIdx.x) * BLOCK + threadIdx.x; column < args.n; column += threads) {
    u32* at = args.sums + 2 * column;
    u64 sum = u64(at[1]) << 32 | at[0];
    for (u64 sample = 0; sample < args.samples; sample++) {
      const float factor = args.factors[sample];
      if (factor == 0.0f) continue;
      const float scaled = multiply(factor, args.rows[sample * args.n + column]);
      const float steps = rintf(multiply(scaled, args.reciprocal));
      // Neither may be said of a NaN.
      if (steps > -2147483648.0f && steps < 2147483648.0f)
        sum += u64(static_cast<long long>(steps));
      else
        report_fault(args.status, sample);
    }
    at[0] = u32(sum);
    at[1] = u32(sum >> 32);
  }
}

KERNEL(grid_sum, GridSumArgs, add_rows(args))
