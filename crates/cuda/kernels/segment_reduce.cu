// segment_reduce: sum, maximum or sum of squares of consecutive segments. Sums in f64, the maximum exact.
#include "reduce.cuh"

struct SegmentReduceArgs {
  Team team;
  Segments segments;
  const void* x;
  float* out;
};

template <class T, class Accumulator>
struct SegmentReduce {
  typedef Accumulator Acc;
  const SegmentReduceArgs& args;
  DEVICE Acc start() const { return Acc::start(); }
  DEVICE Span span(u64 row) const { return args.segments.span(row); }
  DEVICE void read(Acc& acc, u64, u64 first, u64 begin, u64 n, u32 lane, u32 lanes) const {
    stream(static_cast<const T*>(args.x) + first + begin, n, lane, lanes, [&](const auto& v, u64 i) { acc.take(v, i); });
  }
  DEVICE void finish(u64 row, u64, const Acc& acc) const {
    const bool sound = args.segments.sound(row);
    if (!sound) report_fault(args.segments.status, row);
    args.out[row] = sound ? acc.result() : nan();
  }
};

#define SEGMENT_REDUCE(type, T, rule, Acc)                                                                           \
  KERNEL(segment_reduce_##rule##_##type, SegmentReduceArgs, reduce_rows(SegmentReduce<T, Acc>{args}, args.team)) \
  KERNEL(segment_reduce_merge_##rule##_##type, SegmentReduceArgs, merge_rows(SegmentReduce<T, Acc>{args}, args.team))
#define SEGMENT_REDUCES(type, T)             \
  SEGMENT_REDUCE(type, T, sum, Sum)          \
  SEGMENT_REDUCE(type, T, max, Max)          \
  SEGMENT_REDUCE(type, T, sum_squares, SumSquares)
SEGMENT_REDUCES(f32, float)
SEGMENT_REDUCES(bf16, bf16)
SEGMENT_REDUCES(f16, f16)
