// loss_reduction: both sums of losses of every document and their difference for each token, in f64.
#include "reduce.cuh"

struct LossReductionArgs {
  Team team;
  Segments segments;
  const float* prior;
  const float* conditional;
  float* prior_sum;
  float* conditional_sum;
  float* score;
};

struct LossReduction {
  struct Acc {
    Sum prior;
    Sum conditional;
    DEVICE void merge(const Acc& other) {
      prior.merge(other.prior);
      conditional.merge(other.conditional);
    }
  };
  const LossReductionArgs& args;
  DEVICE Acc start() const { return Acc{Sum::start(), Sum::start()}; }
  DEVICE Span span(u64 row) const { return args.segments.span(row); }
  DEVICE void read(Acc& acc, u64, u64 first, u64 begin, u64 n, u32 lane, u32 lanes) const {
    stream(args.prior + first + begin, n, lane, lanes, [&](const auto& v, u64 i) { acc.prior.take(v, i); });
    stream(args.conditional + first + begin, n, lane, lanes, [&](const auto& v, u64 i) { acc.conditional.take(v, i); });
  }
  DEVICE void finish(u64 row, u64 n, const Acc& acc) const {
    const bool sound = args.segments.sound(row);
    if (!sound) report_fault(args.segments.status, row);
    args.prior_sum[row] = sound ? acc.prior.result() : nan();
    args.conditional_sum[row] = sound ? acc.conditional.result() : nan();
    args.score[row] = sound && n > 0 ? float((acc.prior.sum - acc.conditional.sum) / double(n)) : nan();
  }
};

KERNEL(loss_reduction, LossReductionArgs, reduce_rows(LossReduction{args}, args.team))
KERNEL(loss_reduction_merge, LossReductionArgs, merge_rows(LossReduction{args}, args.team))
