// What all kernels share: names of types, conversions, 16-byte accesses, and the few primitives that differ between the
// device and the host shim (crates/cuda/tests/host), which compiles these same files with a C++ compiler and runs the
// threads of a block as fibers. Inline PTX stands only behind a function that has a host body, here and in mma.cuh.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef int i32;
typedef unsigned long long u64;

#ifdef GRISTMILL_HOST
#include "cuda_host.h"
#else
#define DEVICE __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#define PRAGMA(text) _Pragma(#text)
#define UNROLL_BY(n) PRAGMA(unroll n)
// An entry point: one block of arguments by value, as `Args` in src/driver.rs lays it out; blocks of at most 256 threads.
#define KERNEL_OCCUPIED(name, Arguments, blocks, ...)                                       \
  extern "C" __global__ void __launch_bounds__(256, blocks) name(const Arguments args) { \
    __VA_ARGS__;                                                                         \
  }
extern __shared__ uint4 dynamic_shared[];
#endif
#define KERNEL(name, Arguments, ...) KERNEL_OCCUPIED(name, Arguments, 1, __VA_ARGS__)

// ------------------------------------------------------------------------------------------------ primitives

constexpr u32 WARP = 32;
constexpr u32 BLOCK = 256;

#ifdef GRISTMILL_HOST
using cuda_host::shared_memory;
DEVICE void sync_block() { cuda_host::sync_block(); }
DEVICE u32 shuffle_xor(u32 x, u32 mask) { return cuda_host::exchange(x, (threadIdx.x ^ mask) % WARP); }
DEVICE u32 float_bits(float x) { return cuda_host::bit_cast<u32>(x); }
DEVICE float bits_float(u32 x) { return cuda_host::bit_cast<float>(x); }
DEVICE u32 atomic_add(u32* at, u32 x) { return cuda_host::atomic_add(at, x); }
DEVICE void atomic_max(u32* at, u32 x) { cuda_host::atomic_max(at, x); }
DEVICE float exp2_approx(float x) { return cuda_host::exp2(x); }
DEVICE float reciprocal_approx(float x) { return 1.0f / x; }
DEVICE float max_nan(float a, float b) { return a != a ? a : b != b ? b : a > b ? a : b; }
DEVICE void sincos_pi(float x, float* s, float* c) { cuda_host::sincos_pi(x, s, c); }
DEVICE u32 multiply_high(u32 a, u32 b) { return u32((u64(a) * b) >> 32); }
#else
DEVICE u8* shared_memory() { return reinterpret_cast<u8*>(dynamic_shared); }
DEVICE void sync_block() { __syncthreads(); }
DEVICE u32 shuffle_xor(u32 x, u32 mask) { return __shfl_xor_sync(0xFFFFFFFFu, x, mask); }
DEVICE u32 float_bits(float x) { return __float_as_uint(x); }
DEVICE float bits_float(u32 x) { return __uint_as_float(x); }
DEVICE u32 atomic_add(u32* at, u32 x) { return atomicAdd(at, x); }
DEVICE void atomic_max(u32* at, u32 x) { atomicMax(at, x); }
// 2^x to 2 units in the last place; results below the normal numbers become 0.
DEVICE float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// 1 / x to 1 unit in the last place.
DEVICE float reciprocal_approx(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// The greater; NaN if one is.
DEVICE float max_nan(float a, float b) {
  float y;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
  return y;
}
DEVICE void sincos_pi(float x, float* s, float* c) { sincospif(x, s, c); }
DEVICE u32 multiply_high(u32 a, u32 b) { return __umulhi(a, b); }
#endif

DEVICE float infinity() { return bits_float(0x7F800000u); }
DEVICE float nan() { return bits_float(0x7FC00000u); }

template <class T>
DEVICE T least(T a, T b) {
  return a < b ? a : b;
}

// ------------------------------------------------------------------------------------------------ element types

struct bf16 {
  u16 bits;
};
struct f16 {
  u16 bits;
};

DEVICE float to_float(float x) { return x; }
DEVICE float to_float(bf16 x) { return bits_float(u32(x.bits) << 16); }
#ifdef GRISTMILL_HOST
DEVICE float to_float(f16 x) { return cuda_host::half_to_float(x.bits); }
DEVICE u16 bf16_bits(float x) { return cuda_host::float_to_bfloat(x); }
DEVICE u16 f16_bits(float x) { return cuda_host::float_to_half(x); }
#else
DEVICE float to_float(f16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}
DEVICE u16 bf16_bits(float x) {
  u16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y) : "f"(x));
  return y;
}
DEVICE u16 f16_bits(float x) {
  u16 y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
  return y;
}
#endif

template <class T>
struct Of {};  // A tag, to choose an overload by result.

DEVICE float from_float(float x, Of<float>) { return x; }
DEVICE bf16 from_float(float x, Of<bf16>) { return bf16{bf16_bits(x)}; }
DEVICE f16 from_float(float x, Of<f16>) { return f16{f16_bits(x)}; }
template <class T>
DEVICE T from_float(float x) {
  return from_float(x, Of<T>());
}

// ------------------------------------------------------------------------------------------------ wide accesses

struct alignas(16) Words4 {
  u32 w[4];
};
struct alignas(8) Words2 {
  u32 w[2];
};

#ifdef GRISTMILL_HOST
template <class W>
DEVICE W load_wide(const void* p) {
  return cuda_host::load_aligned<W>(p);
}
template <class W>
DEVICE void store_wide(void* p, W x) {
  cuda_host::store_aligned(p, x);
}
#else
template <class W>
DEVICE W load_wide(const void* p) {
  return *reinterpret_cast<const W*>(p);
}
template <>
DEVICE Words4 load_wide<Words4>(const void* p) {
  const uint4 x = *reinterpret_cast<const uint4*>(p);
  return Words4{{x.x, x.y, x.z, x.w}};
}
template <class W>
DEVICE void store_wide(void* p, W x) {
  *reinterpret_cast<W*>(p) = x;
}
template <>
DEVICE void store_wide<Words4>(void* p, Words4 x) {
  *reinterpret_cast<uint4*>(p) = make_uint4(x.w[0], x.w[1], x.w[2], x.w[3]);
}
#endif

DEVICE u64 address(const void* p) { return reinterpret_cast<u64>(p); }

// Elements of a 16-byte access.
template <class T>
constexpr u32 VECTOR = 16 / sizeof(T);

DEVICE float element(const Words4& x, u32 i, Of<float>) { return bits_float(x.w[i]); }
DEVICE float element(const Words4& x, u32 i, Of<bf16>) {
  return bits_float(i % 2 ? x.w[i / 2] & 0xFFFF0000u : x.w[i / 2] << 16);
}
DEVICE float element(const Words4& x, u32 i, Of<f16>) {
  return to_float(f16{u16(i % 2 ? x.w[i / 2] >> 16 : x.w[i / 2])});
}

template <class T>
DEVICE void unpack(const Words4& x, float (&v)[VECTOR<T>]) {
  UNROLL
  for (u32 i = 0; i < VECTOR<T>; i++) v[i] = element(x, i, Of<T>());
}

// Elements before the first that is aligned for 16-byte accesses, of n.
template <class T>
DEVICE u64 head_of(const T* x, u64 n) {
  return least<u64>(((16 - address(x) % 16) % 16) / sizeof(T), n);
}

// Gives the elements x[0 .. n] to `take(values, index of the first)`, shared out between `lanes` threads of which this
// is number `lane`: single elements up to the first aligned address, 16 bytes at a time with four loads in flight, and
// single elements again.
template <class T, class F>
DEVICE void stream(const T* x, u64 n, u32 lane, u32 lanes, F take) {
  const u64 head = head_of(x, n), packs = (n - head) / VECTOR<T>;
  for (u64 i = lane; i < head; i += lanes) {
    const float v[1] = {to_float(x[i])};
    take(v, i);
  }
  const T* body = x + head;
  const auto give = [&](const Words4& w, u64 pack) {
    float v[VECTOR<T>];
    unpack<T>(w, v);
    take(v, head + pack * VECTOR<T>);
  };
  const u64 step = lanes;
  u64 p = lane;
  for (; p + 3 * step < packs; p += 4 * step) {
    Words4 w[4];
    UNROLL
    for (u32 i = 0; i < 4; i++) w[i] = load_wide<Words4>(body + (p + i * step) * VECTOR<T>);
    UNROLL
    for (u32 i = 0; i < 4; i++) give(w[i], p + i * step);
  }
  for (; p < packs; p += step) give(load_wide<Words4>(body + p * VECTOR<T>), p);
  for (u64 i = head + packs * VECTOR<T> + lane; i < n; i += lanes) {
    const float v[1] = {to_float(x[i])};
    take(v, i);
  }
}

// ------------------------------------------------------------------------------------------------ faults

// Records that `row` broke the contract of the operation: the slot keeps the lowest, as the greatest complement.
DEVICE void report_fault(u32* status, u64 row) { atomic_max(status, 0xFFFFFFFFu - u32(least<u64>(row, 0xFFFFFFFEu))); }

// An index tensor is u32, or i32 when `is_signed`; what is negative lies beyond everything.
DEVICE u64 index_at(const u32* x, u64 i, u32 is_signed) {
  const u32 bits = x[i];
  return is_signed && i32(bits) < 0 ? ~0ull : bits;
}
