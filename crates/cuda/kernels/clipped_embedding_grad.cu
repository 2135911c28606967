// clipped_embedding_grad: clipped gradients added to a table. The first row of each id goes over all of them, sample by
// sample, and changes that row of the table, a block a row. Sums in f64.
#include "tables.cuh"

struct ClippedEmbeddingGradArgs {
  Tables tables;
  const void* dy;
  const float* factors;
  float* grad;
  u64 d;
};

template <class T>
DEVICE void add_rows(const ClippedEmbeddingGradArgs& args) {
  const Tables& t = args.tables;
  const T* dy = static_cast<const T*>(args.dy);
  for (u64 row = blockIdx.x; row < t.segments.n; row += gridDim.x) {
    if (!is_head(t.samples[row])) continue;
    for (u64 j = threadIdx.x; j < args.d; j += BLOCK) {
      double total = 0.0;
      // A row of nobody only comes where offsets are at fault.
      for (u32 at = u32(row); at != NONE && t.samples[at] != NONE;) {
        const u32 sample = t.samples[at] & ~HEAD;
        const float factor = args.factors[sample];
        double sum = 0.0;
        for (; at != NONE && (t.samples[at] & ~HEAD) == sample; at = t.next[at])
          if (factor != 0.0f) sum += double(to_float(dy[at * args.d + j]));
        total += double(factor) * sum;
      }
      float* grad = args.grad + t.id(row) * args.d + j;
      *grad = float(double(*grad) + total);
    }
  }
}

KERNEL(clipped_embedding_grad_links, ClippedEmbeddingGradArgs, link_rows<true>(args.tables))
KERNEL(clipped_embedding_grad_f32, ClippedEmbeddingGradArgs, add_rows<float>(args))
KERNEL(clipped_embedding_grad_bf16, ClippedEmbeddingGradArgs, add_rows<bf16>(args))
KERNEL(clipped_embedding_grad_f16, ClippedEmbeddingGradArgs, add_rows<f16>(args))
