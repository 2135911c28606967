// softmax_stats: maximum and log-sum-exp of every row in one pass.
#include "reduce.cuh"

struct SoftmaxStatsArgs {
  Team team;
  const void* x;
  float* max;
  float* lse;
  u64 columns;
};

template <class T>
struct SoftmaxStats {
  typedef LogSum Acc;
  const SoftmaxStatsArgs& args;
  DEVICE Acc start() const { return Acc::start(); }
  DEVICE Span span(u64 row) const { return Span{row * args.columns, args.columns}; }
  DEVICE void read(Acc& acc, u64, u64 first, u64 begin, u64 n, u32 lane, u32 lanes) const {
    stream(static_cast<const T*>(args.x) + first + begin, n, lane, lanes, [&](const auto& v, u64 i) { acc.take(v, i); });
  }
  DEVICE void finish(u64 row, u64, const Acc& acc) const {
    args.max[row] = acc.max;
    args.lse[row] = acc.max == -infinity() ? acc.max : acc.max + logf(acc.sum);
  }
};

#define SOFTMAX_STATS(type, T)                                                                       \
  KERNEL(softmax_stats_##type, SoftmaxStatsArgs, reduce_rows(SoftmaxStats<T>{args}, args.team)) \
  KERNEL(softmax_stats_merge_##type, SoftmaxStatsArgs, merge_rows(SoftmaxStats<T>{args}, args.team))
SOFTMAX_STATS(f32, float)
SOFTMAX_STATS(bf16, bf16)
SOFTMAX_STATS(f16, f16)
