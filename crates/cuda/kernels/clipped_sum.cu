// clipped_sum: scaled rows added to a row, a thread a column. Sums in f64, in the order of the rows.
#include "common.cuh"

struct ClippedSumArgs {
  const float* rows;
  const float* factors;
  float* out;
  u64 samples;
  u64 n;
};

DEVICE void add_rows(const ClippedSumArgs& args) {
  const u64 threads = u64(gridDim.x) * BLOCK;
  for (u64 column = u64(blockIdx.x) * BLOCK + threadIdx.x; column < args.n; column += threads) {
    double sum = args.out[column];
    for (u64 sample = 0; sample < args.samples; sample++) {
      const float factor = args.factors[sample];
      if (factor != 0.0f) sum += double(factor) * double(args.rows[sample * args.n + column]);
    }
    args.out[column] = float(sum);
  }
}

KERNEL(clipped_sum, ClippedSumArgs, add_rows(args))
