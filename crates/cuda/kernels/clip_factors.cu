// clip_factors: a factor for each sample and group, and how many samples took part, a thread a sample; then the counts, a
// block a group.
#include "clip.cuh"

struct ClipFactorsArgs {
  const float* squared;
  const float* weights;  // Null where all are 1.
  const float* max_norms;
  float* factors;
  u32* counts;
  u32* states;  // [samples]
  u32* status;
  u64 groups;
  u64 samples;
  u32 rule;
  float gamma;
};

// What a sample is: padding, one that takes part, or one that is left out.
enum State { PADDING, TAKEN, LEFT_OUT };

DEVICE void make_factors(const ClipFactorsArgs& args) {
  const u64 threads = u64(gridDim.x) * BLOCK;
  for (u64 sample = u64(blockIdx.x) * BLOCK + threadIdx.x; sample < args.samples; sample += threads) {
    const float weight = args.weights ? args.weights[sample] : 1.0f;
    if (weight != 0.0f && weight != 1.0f) report_fault(args.status, sample);
    u32 state = weight == 1.0f ? TAKEN : PADDING;
    for (u64 g = 0; g < args.groups; g++)
      if (state == TAKEN && !is_measured(args.squared[g * args.samples + sample])) state = LEFT_OUT;
    args.states[sample] = state;
    for (u64 g = 0; g < args.groups; g++) {
      const u64 at = g * args.samples + sample;
      args.factors[at] =
          state == TAKEN ? clip_factor(args.rule, args.gamma, args.squared[at], args.max_norms[g]) : 0.0f;
    }
  }
}

DEVICE void count(const ClipFactorsArgs& args) {
  u32* shared = reinterpret_cast<u32*>(shared_memory());
  for (u64 g = blockIdx.x; g < args.groups; g += gridDim.x) {
    const float max_norm = args.max_norms[g];
    if (threadIdx.x == 0 && !is_bound(max_norm)) report_fault(args.status, args.samples + g);
    u32 counts[3] = {};
    for (u64 sample = threadIdx.x; sample < args.samples; sample += BLOCK) {
      const u32 state = args.states[sample];
      counts[0] += state == TAKEN;
      counts[1] += state == LEFT_OUT;
      counts[2] += state == TAKEN && norm_of(args.squared[g * args.samples + sample]) <= max_norm;
    }
    UNROLL
    for (u32 i = 0; i < 3; i++) shared[i * BLOCK + threadIdx.x] = counts[i];
    sync_block();
    if (threadIdx.x < 3) {
      u32 sum = 0;
      for (u32 i = 0; i < BLOCK; i++) sum += shared[threadIdx.x * BLOCK + i];
      args.counts[3 * g + threadIdx.x] = sum;
    }
    sync_block();
  }
}

KERNEL(clip_factors, ClipFactorsArgs, make_factors(args))
KERNEL(clip_factors_counts, ClipFactorsArgs, count(args))
