// clipped_grad: the sum of the gradients that samples have for a linear layer, each times its factor, added to what is
// there.
//
// A block has a tile of the sum, and goes over the samples: the tile of a sample's gradient is whole before it is scaled,
// so the factor meets in f32 what the norm was measured of. A sample of factor 0 is passed over.
#include "linear_grad.cuh"

struct ClippedGradArgs {
  Layer layer;
  const float* factors;
  float* grad;
  float* bias;
};

template <class T>
DEVICE void add_weight(const ClippedGradArgs& args) {
  const Layer& layer = args.layer;
  GradientTile<T> gradient;
  gradient.place(layer, blockIdx.x);
  float total[8][8];
  UNROLL
  for (u32 i = 0; i < 8; i++) {
    UNROLL
    for (u32 j = 0; j < 8; j++) total[i][j] = 0.0f;
  }
  for (u64 sample = 0; sample < layer.samples; sample++) {
    const float factor = args.factors[sample];
    const Span rows = layer.segments.span(sample);
    if (factor == 0.0f || rows.n == 0) continue;
    gradient.run(layer, rows);
    UNROLL
    for (u32 i = 0; i < 8; i++) {
      UNROLL
      for (u32 j = 0; j < 8; j++) total[i][j] += factor * gradient.tile.acc[i][j];
    }
  }
  UNROLL
  for (u32 i = 0; i < 8; i++) {
    const u32 row = gradient.tile.row(i);
    if (row >= gradient.outputs) continue;
    float* line = args.grad + (gradient.output0 + row) * layer.d + gradient.input0;
    UNROLL
    for (u32 j = 0; j < 8; j++) {
      const u32 column = gradient.tile.column(j);
      if (column < gradient.inputs) line[column] += total[i][j];
    }
  }
}

template <class T>
DEVICE void add_bias(const ClippedGradArgs& args) {
  const u64 output = u64(blockIdx.x) * BLOCK + threadIdx.x;
  if (output >= args.layer.p) return;
  double sum = args.bias[output];
  for (u64 sample = 0; sample < args.layer.samples; sample++) {
    const float factor = args.factors[sample];
    if (factor != 0.0f)
      sum += double(factor) * column_sum<T>(args.layer, args.layer.segments.span(sample), output);
  }
  args.bias[output] = float(sum);
}

#define CLIPPED_GRAD(type, T)                                            \
  KERNEL(clipped_grad_##type, ClippedGradArgs, add_weight<T>(args)) \
  KERNEL(clipped_grad_bias_##type, ClippedGradArgs, add_bias<T>(args))
CLIPPED_GRAD(f32, float)
CLIPPED_GRAD(bf16, bf16)
CLIPPED_GRAD(f16, f16)
KERNEL(clipped_grad_check, ClippedGradArgs, check_offsets(args.layer))
