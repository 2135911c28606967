// embedding_norms: squared norms of the gradients that samples give a table. The first row of each id in a sample adds up
// all of them and squares the sum, a block a row; then the rows of a sample are added up. Sums in f64.
#include "tables.cuh"

struct EmbeddingNormsArgs {
  Tables tables;
  const void* dy;
  double* terms;  // [rows]
  float* out;
  u64 d;
};

template <class T>
DEVICE void square_rows(const EmbeddingNormsArgs& args) {
  const Tables& t = args.tables;
  const T* dy = static_cast<const T*>(args.dy);
  for (u64 row = blockIdx.x; row < t.segments.n; row += gridDim.x) {
    Sum acc = Sum::start();
    if (is_head(t.samples[row])) {
      for (u64 j = threadIdx.x; j < args.d; j += BLOCK) {
        double sum = 0.0;
        for (u32 at = u32(row); at != NONE; at = t.next[at]) sum += double(to_float(dy[at * args.d + j]));
        acc.sum += sum * sum;
      }
      merge_team(acc, BLOCK);
    }
    if (threadIdx.x == 0) args.terms[row] = acc.sum;
  }
}

KERNEL(embedding_norms_links, EmbeddingNormsArgs, link_rows<false>(args.tables))
KERNEL(embedding_norms_f32, EmbeddingNormsArgs, square_rows<float>(args))
KERNEL(embedding_norms_bf16, EmbeddingNormsArgs, square_rows<bf16>(args))
KERNEL(embedding_norms_f16, EmbeddingNormsArgs, square_rows<f16>(args))
KERNEL(embedding_norms_sum, EmbeddingNormsArgs, sum_samples(args.tables, args.terms, args.out))
