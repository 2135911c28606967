// low_rank_adam: the last step in a subspace where the weight is bf16, an element a thread: out = keep · out + x, with the
// update in x. The products and the step in the subspace are kernels of matmul and adamw.
#include "adam.cuh"

struct LowRankAdamArgs {
  const float* x;
  bf16* out;
  u64 n;
  u64 seed;
  u64 stream;
  float keep;
};

template <u32 NOISE>
DEVICE void low_rank_adam(const LowRankAdamArgs& args) {
  const u64 threads = u64(gridDim.x) * BLOCK;
  for (u64 i = u64(blockIdx.x) * BLOCK + threadIdx.x; i < args.n; i += threads) {
    u32 half[3] = {0, 0, 0};
    if (NOISE) half[0] = Noise(args.stream, args.seed, i).half[0];
    const float kept = args.keep == 0.0f ? 0.0f : args.keep * to_float(args.out[i]);
    args.out[i] = rounded<NOISE>(kept + args.x[i], half, 0, Of<bf16>());
  }
}

KERNEL(low_rank_adam_bf16, LowRankAdamArgs, low_rank_adam<0>(args))
KERNEL(low_rank_adam_bf16_noise, LowRankAdamArgs, low_rank_adam<1>(args))
