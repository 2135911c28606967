// activation: out = f(x + bias) · times, computed in f32 and rounded once.
#include "columns.cuh"

struct ActivationArgs {
  const void* x;
  const float* bias;  // [columns], or null.
  const void* times;  // Or null.
  void* out;
  u64 n;
  u64 columns;
};

// Far below zero all of them are nothing, and a product with infinity would be more. NaN is not less.
DEVICE float clipped(float x, float least) { return x < least ? least : x; }

struct Silu {
  DEVICE static float of(float x) {
    x = clipped(x, -80.0f);
    return x / (1.0f + expf(-x));
  }
};
struct Gelu {
  DEVICE static float of(float x) {
    x = clipped(x, -14.0f);
    return 0.5f * x * erfcf(-0.70710678118654752440f * x);
  }
};
struct GeluTanh {
  // (1 + tanh y) / 2 is the logistic function of 2 y.
  DEVICE static float of(float x) {
    x = clipped(x, -9.0f);
    return x / (1.0f + expf(-1.59576912160573071176f * (x + 0.044715f * (x * x * x))));
  }
};

template <class T, class F>
DEVICE void activation(const ActivationArgs& args) {
  const T* x = static_cast<const T*>(args.x);
  const T* times = static_cast<const T*>(args.times);
  T* out = static_cast<T*>(args.out);
  const auto result = [&](T value, u64 column, T factor) {
    const float z = F::of(args.bias ? to_float(value) + args.bias[column] : to_float(value));
    return from_float<T>(times ? z * to_float(factor) : z);
  };
  const bool aligned = (address(x) | address(out) | address(times)) % 16 == 0;
  by_columns(
      args.n, args.columns, aligned,
      [&](u64 i, u64 column) { out[i] = result(x[i], column, times ? times[i] : T()); },
      [&](u64 i, u64 column) {
        Pack8<T> values, factors, results;
        load8(values, x + i);
        if (times) load8(factors, times + i);
        UNROLL
        for (u32 e = 0; e < LANE_ELEMENTS; e++) results.v[e] = result(values.v[e], column + e, times ? factors.v[e] : T());
        store8(out + i, results);
      });
}

#define ACTIVATIONS(type, T)                                                      \
  KERNEL(activation_silu_##type, ActivationArgs, activation<T, Silu>(args))       \
  KERNEL(activation_gelu_##type, ActivationArgs, activation<T, Gelu>(args))       \
  KERNEL(activation_gelu_tanh_##type, ActivationArgs, activation<T, GeluTanh>(args))
ACTIVATIONS(f32, float)
ACTIVATIONS(bf16, bf16)
ACTIVATIONS(f16, f16)
