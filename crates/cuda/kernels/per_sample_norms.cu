// per_sample_norms: the square of the norm of each sample's gradient of a linear layer, which is made a tile at a time and
// never written; or from the products of rows (gram.cuh), and made for those samples alone that this lists.
//
// A block makes a tile of one sample's gradient over all of its rows, and squares it once it is whole; further blocks do
// so for 256 outputs of the bias each. They leave a sum each, in f64, which a second kernel adds up in their order.
#include "gram_norms.cuh"

struct PerSampleNormsArgs {
  Layer layer;
  double* partials;  // [samples, tiles and blocks of the bias]
  float* out;
  const u32* list;  // How many samples are to be made, and which; null for all.
  u64 of_bias;      // Blocks of the bias.

  DEVICE u64 samples() const { return list ? list[0] : layer.samples; }
  DEVICE u64 sample(u64 number) const { return list ? list[1 + number] : number; }
};

template <class T>
DEVICE void squares(const PerSampleNormsArgs& args) {
  const Layer& layer = args.layer;
  const u64 tiles = layer.tiles(), each = tiles + args.of_bias, all = args.samples() * each;
  for (u64 number = blockIdx.x; number < all; number += gridDim.x) {
    const u64 sample = args.sample(number / each), part = number % each;
    const Span rows = layer.segments.span(sample);
    SumSquares acc = SumSquares::start();
    if (part < tiles) {
      GradientTile<T> gradient;
      gradient.place(layer, part);
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
      const u64 output = (part - tiles) * BLOCK + threadIdx.x;
      if (output < layer.p) {
        const double sum = column_sum<T>(layer, rows, output);
        acc.sum = sum * sum;
      }
    }
    merge_team(acc, BLOCK);
    if (threadIdx.x == 0) args.partials[sample * each + part] = acc.sum;
  }
}

DEVICE void totals(const PerSampleNormsArgs& args) {
  const u64 each = args.layer.tiles() + args.of_bias, warps = u64(gridDim.x) * BLOCK / WARP, all = args.samples();
  for (u64 number = (u64(blockIdx.x) * BLOCK + threadIdx.x) / WARP; number < all; number += warps) {
    const u64 sample = args.sample(number);
    Sum acc = Sum::start();
    for (u64 i = threadIdx.x % WARP; i < each; i += WARP) acc.sum += args.partials[sample * each + i];
    merge_warp(acc);
    if (threadIdx.x % WARP == 0) args.out[sample] = acc.result();
  }
}

#define PER_SAMPLE_NORMS(type, T)                                             \
  KERNEL(per_sample_norms_##type, PerSampleNormsArgs, squares<T>(args))       \
  KERNEL(per_sample_norms_means_##type, GramArgs, find_means<T>(args))        \
  KERNEL(per_sample_norms_centre_##type, GramArgs, centre_rows<T>(args))      \
  KERNEL(per_sample_norms_products_##type, GramArgs, multiply_tiles<T>(args))
PER_SAMPLE_NORMS(f32, float)
PER_SAMPLE_NORMS(bf16, bf16)
PER_SAMPLE_NORMS(f16, f16)
KERNEL(per_sample_norms_check, PerSampleNormsArgs, check_offsets(args.layer))
KERNEL(per_sample_norms_terms, GramArgs, add_terms(args))
KERNEL(per_sample_norms_totals, PerSampleNormsArgs, totals(args))
