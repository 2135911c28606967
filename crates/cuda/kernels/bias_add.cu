// bias_add: x = x + bias in place, computed in f32 and rounded once.
#include "columns.cuh"

struct BiasAddArgs {
  void* x;
  const float* bias;  // [columns]
  u64 n;
  u64 columns;
};

template <class T>
DEVICE void bias_add(const BiasAddArgs& args) {
  T* x = static_cast<T*>(args.x);
  const auto sum = [&](T value, u64 column) { return from_float<T>(to_float(value) + args.bias[column]); };
  by_columns(
      args.n, args.columns, address(x) % 16 == 0, [&](u64 i, u64 column) { x[i] = sum(x[i], column); },
      [&](u64 i, u64 column) {
        Pack8<T> values;
        load8(values, x + i);
        UNROLL
        for (u32 e = 0; e < LANE_ELEMENTS; e++) values.v[e] = sum(values.v[e], column + e);
        store8(x + i, values);
      });
}

KERNEL(bias_add_f32, BiasAddArgs, bias_add<float>(args))
KERNEL(bias_add_bf16, BiasAddArgs, bias_add<bf16>(args))
KERNEL(bias_add_f16, BiasAddArgs, bias_add<f16>(args))
