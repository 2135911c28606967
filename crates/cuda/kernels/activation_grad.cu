// activation_grad: out = dy · f'(x), computed in f32 and rounded once.
#include "elementwise.cuh"

struct ActivationGradArgs {
  const void* x;
  const void* dy;
  void* out;
  u64 n;
};

// Beyond `far` derivatives are 0 and 1. NaN is neither less nor more.
DEVICE float within(float x, float far) { return x < -far ? -far : x > far ? far : x; }
DEVICE float logistic(float x) { return 1.0f / (1.0f + expf(-x)); }

struct SiluGrad {
  DEVICE static float of(float x) {
    x = within(x, 80.0f);
    const float s = logistic(x);
    return s + x * (s * logistic(-x));
  }
};
struct GeluGrad {
  DEVICE static float of(float x) {
    x = within(x, 12.0f);
    return 0.5f * erfcf(-0.70710678118654752440f * x) + x * (0.39894228040143267794f * expf(-0.5f * (x * x)));
  }
};
struct GeluTanhGrad {
  DEVICE static float of(float x) {
    x = within(x, 9.0f);
    const float z = 1.59576912160573071176f * (x + 0.044715f * (x * x * x)), s = logistic(z);
    return s + x * (s * logistic(-z)) * (1.59576912160573071176f * (1.0f + 0.134145f * (x * x)));
  }
};

template <class T, class F>
DEVICE void activation_grad(const ActivationGradArgs& args) {
  const T* x = static_cast<const T*>(args.x);
  const T* dy = static_cast<const T*>(args.dy);
  T* out = static_cast<T*>(args.out);
  const auto result = [](T value, T gradient) { return from_float<T>(to_float(gradient) * F::of(to_float(value))); };
  const u64 thread = u64(blockIdx.x) * BLOCK + threadIdx.x, threads = u64(gridDim.x) * BLOCK;
  const bool aligned = (address(x) | address(dy) | address(out)) % 16 == 0;
  const u64 packs = aligned ? args.n / LANE_ELEMENTS : 0;
  for (u64 p = thread; p < packs; p += threads) {
    const u64 i = p * LANE_ELEMENTS;
    Pack8<T> values, gradients, results;
    load8(values, x + i);
    load8(gradients, dy + i);
    UNROLL
    for (u32 e = 0; e < LANE_ELEMENTS; e++) results.v[e] = result(values.v[e], gradients.v[e]);
    store8(out + i, results);
  }
  for (u64 i = packs * LANE_ELEMENTS + thread; i < args.n; i += threads) out[i] = result(x[i], dy[i]);
}

#define ACTIVATION_GRADS(type, T)                                                                 \
  KERNEL(activation_grad_silu_##type, ActivationGradArgs, activation_grad<T, SiluGrad>(args))       \
  KERNEL(activation_grad_gelu_##type, ActivationGradArgs, activation_grad<T, GeluGrad>(args))       \
  KERNEL(activation_grad_gelu_tanh_##type, ActivationGradArgs, activation_grad<T, GeluTanhGrad>(args))
ACTIVATION_GRADS(f32, float)
ACTIVATION_GRADS(bf16, bf16)
ACTIVATION_GRADS(f16, f16)
