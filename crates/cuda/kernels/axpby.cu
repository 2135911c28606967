// axpby: y = alpha · x + beta · y in place, computed in f32 and rounded once.
#include "elementwise.cuh"

struct AxpbyArgs {
  const void* x;
  void* y;
  u64 n;
  float alpha;
  float beta;
};

template <class X, class Y>
DEVICE void axpby(const AxpbyArgs& args) {
  const float alpha = args.alpha, beta = args.beta;
  map<true>(static_cast<const X*>(args.x), static_cast<Y*>(args.y), args.n,
            [alpha, beta](X x, Y y) { return from_float<Y>(alpha * to_float(x) + beta * to_float(y)); });
}

#define AXPBY(x, y, X, Y) KERNEL(axpby_##x##_##y, AxpbyArgs, axpby<X, Y>(args))
AXPBY(f32, f32, float, float)
AXPBY(f32, bf16, float, bf16)
AXPBY(f32, f16, float, f16)
AXPBY(bf16, f32, bf16, float)
AXPBY(bf16, bf16, bf16, bf16)
AXPBY(bf16, f16, bf16, f16)
AXPBY(f16, f32, f16, float)
AXPBY(f16, bf16, f16, bf16)
AXPBY(f16, f16, f16, f16)
