// clip_linear_fused: what becomes of the squares of the norms that per_sample_norms leaves, before clipped_grad adds the
// gradients up; and the check of weights. Every rounding is that of the definition, ClipRule::factor.
#include "reduce.cuh"

struct ClipLinearFusedArgs {
  Segments segments;
  const float* weights;
  float* norms;  // Squares, before.
  float* factors;
  u64 samples;
  float max_norm;
  u32 rule;
  float gamma;
};

constexpr float MARGIN = 1.0f - 1.0f / (1 << 20);
constexpr float LEAST_NORMAL = 1.17549435e-38f;
constexpr float GREATEST = 3.40282347e38f;

DEVICE float factor_of(float norm, const ClipLinearFusedArgs& args) {
  if (args.rule == 3) return norm <= args.max_norm * MARGIN ? 1.0f : 0.0f;
  if (args.rule == 2 && norm == 0.0f) return 0.0f;
  const float beside = args.rule == 0 ? 1e-6f : args.rule == 1 ? args.gamma : 0.0f;
  const float factor = least<float>(args.max_norm / (norm + beside), GREATEST) * MARGIN;
  if (args.rule == 0 && factor > 1.0f) return 1.0f;
  return factor < LEAST_NORMAL ? 0.0f : factor;
}

DEVICE void factors(const ClipLinearFusedArgs& args) {
  const u64 threads = u64(gridDim.x) * BLOCK;
  for (u64 sample = u64(blockIdx.x) * BLOCK + threadIdx.x; sample < args.samples; sample += threads) {
    const float squared = args.norms[sample];
    float norm = squared, factor = 0.0f;
    // What is no finite number has no factor, and stays what it is.
    if (squared - squared == 0.0f && squared >= 0.0f) {
      norm = squared < LEAST_NORMAL ? 0.0f : sqrtf(squared);
      factor = factor_of(norm, args);
    }
    if (args.weights && args.weights[sample] == 0.0f) norm = factor = 0.0f;
    args.norms[sample] = norm;
    args.factors[sample] = factor;
  }
}

// A weight that is wrong counts as a row behind the samples.
DEVICE void check(const ClipLinearFusedArgs& args) {
  const u64 threads = u64(gridDim.x) * BLOCK;
  for (u64 sample = u64(blockIdx.x) * BLOCK + threadIdx.x; sample < args.samples; sample += threads) {
    if (!args.segments.sound(sample)) report_fault(args.segments.status, sample);
    if (args.weights && args.weights[sample] != 0.0f && args.weights[sample] != 1.0f)
      report_fault(args.segments.status, args.samples + sample);
  }
}

KERNEL(clip_linear_fused_check, ClipLinearFusedArgs, check(args))
KERNEL(clip_linear_fused_factors, ClipLinearFusedArgs, factors(args))
