// scale: out = alpha · x, computed in f32 and rounded once.
#include "elementwise.cuh"

struct ScaleArgs {
  const void* x;
  void* out;
  u64 n;
  float alpha;
};

template <class T>
DEVICE void scale(const ScaleArgs& args) {
  const float alpha = args.alpha;
  map<false>(static_cast<const T*>(args.x), static_cast<T*>(args.out), args.n,
             [alpha](T x, T) { return from_float<T>(alpha * to_float(x)); });
}

KERNEL(scale_f32, ScaleArgs, scale<float>(args))
KERNEL(scale_bf16, ScaleArgs, scale<bf16>(args))
KERNEL(scale_f16, ScaleArgs, scale<f16>(args))
