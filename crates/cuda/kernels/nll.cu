// nll: the loss of the target of every row of logits. Logits are read once; the target's is looked up at the end.
#include "loss.cuh"

struct NllArgs {
  Team team;
  Logits logits;
  Targets targets;
  const void* x;
  float* out;
  u64 columns;
};

template <class T>
struct Nll {
  typedef LogSum Acc;
  const NllArgs& args;
  DEVICE Acc start() const { return Acc::start(); }
  DEVICE Span span(u64 row) const { return Span{row * args.columns, args.logits.vocab}; }
  DEVICE void read(Acc& acc, u64, u64 first, u64 begin, u64 n, u32 lane, u32 lanes) const {
    const T* x = static_cast<const T*>(args.x) + first + begin;
    if (!args.logits.bias && !(args.logits.softcap > 0.0f)) {
      stream(x, n, lane, lanes, [&](const auto& v, u64 i) { acc.take(v, i); });
      return;
    }
    stream(x, n, lane, lanes, [&](const auto& v, u64 i) { capped(acc, v, begin + i); });
  }
  template <u32 N>
  DEVICE void capped(Acc& acc, const float (&v)[N], u64 column) const {
    float z[N];
    UNROLL
    for (u32 i = 0; i < N; i++) z[i] = args.logits.at(v[i], column + i);
    acc.take(z, column);
  }
  DEVICE void finish(u64 row, u64, const Acc& acc) const {
    const u64 target = args.targets.at(row);
    if (target >= args.logits.vocab) {
      report_fault(args.targets.status, row);
      args.out[row] = nan();
      return;
    }
    const T x = static_cast<const T*>(args.x)[row * args.columns + target];
    args.out[row] = acc.above(args.logits.at(to_float(x), target));
  }
};

#define NLL(type, T)                                                      \
  KERNEL(nll_##type, NllArgs, reduce_rows(Nll<T>{args}, args.team)) \
  KERNEL(nll_merge_##type, NllArgs, merge_rows(Nll<T>{args}, args.team))
NLL(f32, float)
NLL(bf16, bf16)
NLL(f16, f16)
