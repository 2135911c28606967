// segment_product: column sums of samples, a thread a column and sample. Sums in f64.
#include "reduce.cuh"

struct SegmentProductArgs {
  Segments segments;
  const void* a;
  const void* b;  // Null for sums of a alone.
  float* out;
  u64 samples;
  u64 n;
};

template <class T>
DEVICE void segment_product(const SegmentProductArgs& args) {
  const T* a = static_cast<const T*>(args.a);
  const T* b = static_cast<const T*>(args.b);
  const u64 across = (args.n + BLOCK - 1) / BLOCK;
  for (u64 block = blockIdx.x; block < across * args.samples; block += gridDim.x) {
    const u64 sample = block / across, column = block % across * BLOCK + threadIdx.x;
    if (column >= args.n) continue;
    const Span span = args.segments.span(sample);
    double sum = 0.0;
    for (u64 row = span.begin; row < span.begin + span.n; row++) {
      const u64 at = row * args.n + column;
      sum += double(to_float(a[at])) * (b ? double(to_float(b[at])) : 1.0);
    }
    args.out[sample * args.n + column] = float(sum);
  }
}

DEVICE void check(const SegmentProductArgs& args) {
  const u64 threads = u64(gridDim.x) * BLOCK;
  for (u64 sample = u64(blockIdx.x) * BLOCK + threadIdx.x; sample < args.samples; sample += threads)
    if (!args.segments.sound(sample)) report_fault(args.segments.status, sample);
}

KERNEL(segment_product_check, SegmentProductArgs, check(args))
KERNEL(segment_product_f32, SegmentProductArgs, segment_product<float>(args))
KERNEL(segment_product_bf16, SegmentProductArgs, segment_product<bf16>(args))
KERNEL(segment_product_f16, SegmentProductArgs, segment_product<f16>(args))
