// tied_norms: the inner products of the two gradients that samples give a tied table. A block takes a row of the
// embedding, and adds up what the head has in the row of the table with its id; then the rows of a sample are added up.
// Sums in f64.
#include "tables.cuh"

struct TiedNormsArgs {
  Tables tables;
  const void* e;
  const void* h;
  const void* dlogits;
  double* terms;  // [rows]
  float* out;
  u64 d;
};

template <class T>
DEVICE void multiply_rows(const TiedNormsArgs& args) {
  const Tables& t = args.tables;
  const T* e = static_cast<const T*>(args.e);
  const T* h = static_cast<const T*>(args.h);
  for (u64 row = blockIdx.x; row < t.segments.n; row += gridDim.x) {
    Sum acc = Sum::start();
    if (t.samples[row] != NONE) {
      const u32 sample = t.samples[row] & ~HEAD;
      const u64 begin = t.bound(sample), end = t.bound(sample + 1);
      const T* weights = static_cast<const T*>(args.dlogits) + t.id(row);
      for (u64 j = threadIdx.x; j < args.d; j += BLOCK) {
        double sum = 0.0;
        for (u64 s = begin; s < end; s++)
          sum += double(to_float(weights[s * t.vocabulary])) * double(to_float(h[s * args.d + j]));
        acc.sum += sum * double(to_float(e[row * args.d + j]));
      }
      merge_team(acc, BLOCK);
    }
    if (threadIdx.x == 0) args.terms[row] = acc.sum;
  }
}

DEVICE void find_samples(const Tables& t) {
  const u64 threads = u64(gridDim.x) * BLOCK, first = u64(blockIdx.x) * BLOCK + threadIdx.x;
  for (u64 sample = first; sample < t.samples_all; sample += threads)
    if (!t.segments.sound(sample)) report_fault(t.segments.status, t.segments.n + sample);
  for (u64 row = first; row < t.segments.n; row += threads) {
    const bool inside = t.id(row) < t.vocabulary;
    if (!inside) report_fault(t.segments.status, row);
    t.samples[row] = inside ? t.sample_of(row) : NONE;
  }
}

KERNEL(tied_norms_samples, TiedNormsArgs, find_samples(args.tables))
KERNEL(tied_norms_f32, TiedNormsArgs, multiply_rows<float>(args))
KERNEL(tied_norms_bf16, TiedNormsArgs, multiply_rows<bf16>(args))
KERNEL(tied_norms_f16, TiedNormsArgs, multiply_rows<f16>(args))
KERNEL(tied_norms_sum, TiedNormsArgs, sum_samples(args.tables, args.terms, args.out))
