// row_reduce: sum, maximum or sum of squares of every row. Sums in f64, the maximum exact.
#include "reduce.cuh"

struct RowReduceArgs {
  Team team;
  const void* x;
  float* out;
  u64 columns;
};

template <class T, class Accumulator>
struct RowReduce {
  typedef Accumulator Acc;
  const RowReduceArgs& args;
  DEVICE Acc start() const { return Acc::start(); }
  DEVICE Span span(u64 row) const { return Span{row * args.columns, args.columns}; }
  DEVICE void read(Acc& acc, u64, u64 first, u64 begin, u64 n, u32 lane, u32 lanes) const {
    stream(static_cast<const T*>(args.x) + first + begin, n, lane, lanes, [&](const auto& v, u64 i) { acc.take(v, i); });
  }
  DEVICE void finish(u64 row, u64, const Acc& acc) const { args.out[row] = acc.result(); }
};

#define ROW_REDUCE(type, T, rule, Acc)                                                                      \
  KERNEL(row_reduce_##rule##_##type, RowReduceArgs, reduce_rows(RowReduce<T, Acc>{args}, args.team)) \
  KERNEL(row_reduce_merge_##rule##_##type, RowReduceArgs, merge_rows(RowReduce<T, Acc>{args}, args.team))
#define ROW_REDUCES(type, T)             \
  ROW_REDUCE(type, T, sum, Sum)          \
  ROW_REDUCE(type, T, max, Max)          \
  ROW_REDUCE(type, T, sum_squares, SumSquares)
ROW_REDUCES(f32, float)
ROW_REDUCES(bf16, bf16)
ROW_REDUCES(f16, f16)
