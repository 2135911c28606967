// per_sample_norms: the square of the norm of each sample's gradient of a linear layer, which is made a tile at a time and
// never written.
//
// A block makes a tile of one sample's gradient over all of its rows, and squares it once it is whole; further blocks do
// so for 256 outputs of the bias each. They leave a sum each, in f64, which a second kernel adds up in their order.
#include "linear_grad.cuh"

struct PerSampleNormsArgs {
  Layer layer;
  double* partials;  // [samples, tiles and blocks of the bias]
  float* out;
  u64 sample0;
  u64 of_bias;  // Blocks of the bias.
};

template <class T>
DEVICE void squares(const PerSampleNormsArgs& args) {
  const Layer& layer = args.layer;
  const u64 sample = args.sample0 + blockIdx.y, tiles = layer.tiles();
  const Span rows = layer.segments.span(sample);
  SumSquares acc = SumSquares::start();
  if (blockIdx.x < tiles) {
    GradientTile<T> gradient;
    gradient.place(layer, blockIdx.x);
    gradient.run(layer, rows);
    UNROLL
    for (u32 i = 0; i < 8; i++) {
      UNROLL
      for (u32 j = 0; j < 8; j++) {
        // Outside of the layer there are zeros times what rows have, such as infinities.
        const bool inside = gradient.tile.row(i) < gradient.outputs && gradient.tile.column(j) < gradient.inputs;
        const float v[1] = {inside ? gradient.tile.acc[i][j] : 0.0f};
        acc.take(v, 0);
      }
    }
  } else {
    const u64 output = (blockIdx.x - tiles) * BLOCK + threadIdx.x;
    if (output < layer.p) {
      const double sum = column_sum<T>(layer, rows, output);
      acc.sum = sum * sum;
    }
  }
  merge_team(acc, BLOCK);
  if (threadIdx.x == 0) args.partials[sample * (tiles + args.of_bias) + blockIdx.x] = acc.sum;
}

DEVICE void totals(const PerSampleNormsArgs& args) {
  const u64 each = args.layer.tiles() + args.of_bias, threads = u64(gridDim.x) * BLOCK;
  for (u64 warp = (u64(blockIdx.x) * BLOCK + threadIdx.x) / WARP; warp < args.layer.samples; warp += threads / WARP) {
    Sum acc = Sum::start();
    for (u64 i = threadIdx.x % WARP; i < each; i += WARP) acc.sum += args.partials[warp * each + i];
    merge_warp(acc);
    if (threadIdx.x % WARP == 0) args.out[warp] = acc.result();
  }
}

KERNEL(per_sample_norms_check, PerSampleNormsArgs, check_offsets(args.layer))
KERNEL(per_sample_norms_f32, PerSampleNormsArgs, squares<float>(args))
KERNEL(per_sample_norms_bf16, PerSampleNormsArgs, squares<bf16>(args))
KERNEL(per_sample_norms_f16, PerSampleNormsArgs, squares<f16>(args))
KERNEL(per_sample_norms_totals, PerSampleNormsArgs, totals(args))
