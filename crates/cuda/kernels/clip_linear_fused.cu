// clip_linear_fused: norms of their squares, factors, and the check of weights. In two phases this stands between
// per_sample_norms and clipped_grad; fused, the gradients of some samples, as many as the second-level cache holds, are
//   kept      made a tile at a time, squared and written, a block for each tile of a sample;
//   measured  a warp for each sample adds the squares up, for norm and factor;
//   added     each with its factor, in the order of the samples.
#include "clip.cuh"
#include "linear_grad.cuh"

struct ClipLinearFusedArgs {
  Segments segments;
  const float* weights;
  float* norms;  // Squares, before.
  float* factors;
  u64 samples;
  float max_norm;
  u32 rule;
  float gamma;

  DEVICE bool counts(u64 sample) const { return !weights || weights[sample] != 0.0f; }
};

DEVICE void make_factor(const ClipLinearFusedArgs& args, u64 sample, float squared) {
  const bool counts = args.counts(sample);
  // What is no finite number has no factor, and stays what it is.
  const float norm = is_measured(squared) ? norm_of(squared) : squared;
  args.norms[sample] = counts ? norm : 0.0f;
  args.factors[sample] = counts ? clip_factor(args.rule, args.gamma, squared, args.max_norm) : 0.0f;
}

DEVICE void factors(const ClipLinearFusedArgs& args) {
  const u64 threads = u64(gridDim.x) * BLOCK;
  for (u64 sample = u64(blockIdx.x) * BLOCK + threadIdx.x; sample < args.samples; sample += threads)
    make_factor(args, sample, args.norms[sample]);
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

struct ClipLinearFusedGroup {
  ClipLinearFusedArgs all;
  Layer layer;
  float* kept;       // [count, p, d]
  double* of_bias;   // [count, p]
  double* partials;  // [count, tiles and blocks of the bias]
  float* grad;
  float* bias;
  u64 sample0;
  u64 count;

  DEVICE u64 blocks_of_bias() const { return bias ? (layer.p + BLOCK - 1) / BLOCK : 0; }
  DEVICE u64 parts() const { return layer.tiles() + blocks_of_bias(); }
};

// A tile of the gradient of a sample, and the sum of its squares.
template <class T>
DEVICE double keep_tile(const ClipLinearFusedGroup& group, u64 number, const Span& rows, u64 tile) {
  const Layer& layer = group.layer;
  GradientTile<T> gradient;
  gradient.place(layer, tile);
  gradient.run(layer, rows);
  SumSquares acc = SumSquares::start();
  float* kept = group.kept + (number * layer.p + gradient.output0) * layer.d + gradient.input0;
  UNROLL
  for (u32 i = 0; i < 8; i++) {
    const u32 row = gradient.tile.row(i);
    UNROLL
    for (u32 j = 0; j < 8; j++) {
      const u32 column = gradient.tile.column(j);
      if (row >= gradient.outputs || column >= gradient.inputs) continue;
      const float v[1] = {gradient.tile.acc[i][j]};
      acc.take(v, 0);
      kept[row * layer.d + column] = v[0];
    }
  }
  return acc.sum;
}

template <class T>
DEVICE void keep(const ClipLinearFusedGroup& group) {
  const Layer& layer = group.layer;
  const u64 tiles = layer.tiles(), parts = group.parts();
  const u64 number = blockIdx.x / parts, part = blockIdx.x % parts, sample = group.sample0 + number;
  const Span rows = layer.segments.span(sample);
  Sum acc = Sum::start();
  if (rows.n > 0 && group.all.counts(sample)) {
    if (part < tiles) {
      acc.sum = keep_tile<T>(group, number, rows, part);
    } else {
      const u64 output = (part - tiles) * BLOCK + threadIdx.x;
      if (output < layer.p) {
        const double sum = column_sum<T>(layer, rows, output);
        group.of_bias[number * layer.p + output] = sum;
        acc.sum = sum * sum;
      }
    }
  }
  merge_team(acc, BLOCK);
  if (threadIdx.x == 0) group.partials[blockIdx.x] = acc.sum;
}

DEVICE void measure(const ClipLinearFusedGroup& group) {
  const u64 warps = u64(gridDim.x) * BLOCK / WARP, parts = group.parts();
  for (u64 number = (u64(blockIdx.x) * BLOCK + threadIdx.x) / WARP; number < group.count; number += warps) {
    Sum acc = Sum::start();
    for (u64 i = threadIdx.x % WARP; i < parts; i += WARP) acc.sum += group.partials[number * parts + i];
    merge_warp(acc);
    if (threadIdx.x % WARP == 0) make_factor(group.all, group.sample0 + number, acc.result());
  }
}

// What was kept of a sample without rows, or of factor 0, is nothing.
DEVICE float factor_of(const ClipLinearFusedGroup& group, u64 number) {
  const u64 sample = group.sample0 + number;
  return group.layer.segments.span(sample).n > 0 ? group.all.factors[sample] : 0.0f;
}

DEVICE void add_kept(const ClipLinearFusedGroup& group) {
  const u64 n = group.layer.p * group.layer.d, threads = u64(gridDim.x) * BLOCK;
  const u64 thread = u64(blockIdx.x) * BLOCK + threadIdx.x;
  for (u64 i = thread; i < n; i += threads) {
    float total = 0.0f;
    for (u64 number = 0; number < group.count; number++) {
      const float factor = factor_of(group, number);
      if (factor != 0.0f) total += factor * group.kept[number * n + i];
    }
    group.grad[i] += total;
  }
  for (u64 output = thread; group.bias && output < group.layer.p; output += threads) {
    double total = group.bias[output];
    for (u64 number = 0; number < group.count; number++) {
      const float factor = factor_of(group, number);
      if (factor != 0.0f) total += double(factor) * group.of_bias[number * group.layer.p + output];
    }
    group.bias[output] = float(total);
  }
}

KERNEL(clip_linear_fused_check, ClipLinearFusedArgs, check(args))
KERNEL(clip_linear_fused_factors, ClipLinearFusedArgs, factors(args))
KERNEL(clip_linear_fused_keep_f32, ClipLinearFusedGroup, keep<float>(args))
KERNEL(clip_linear_fused_keep_bf16, ClipLinearFusedGroup, keep<bf16>(args))
KERNEL(clip_linear_fused_keep_f16, ClipLinearFusedGroup, keep<f16>(args))
KERNEL(clip_linear_fused_measure, ClipLinearFusedGroup, measure(args))
KERNEL(clip_linear_fused_add, ClipLinearFusedGroup, add_kept(args))
