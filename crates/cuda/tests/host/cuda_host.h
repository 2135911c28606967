// The host's side of kernels/common.cuh: what a kernel may ask of the machine, for kernels that are compiled with a C++
// compiler. Threads of a block are fibers; barriers, shuffles and fragments are points where they meet (runtime.cpp).
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#define DEVICE inline
#define UNROLL
#define UNROLL_BY(n)
#define KERNEL_OCCUPIED(name, Arguments, blocks, ...)                           \
  extern "C" __attribute__((visibility("default"))) void name(const void* p) {  \
    const Arguments& args = *static_cast<const Arguments*>(p);                  \
    __VA_ARGS__;                                                                \
  }                                                                             \
  extern "C" __attribute__((visibility("default"))) std::size_t name##_bytes() { return sizeof(Arguments); }

namespace cuda_host {

struct Dim3 {
  std::uint32_t x, y, z;
};

// Where the running thread is.
const Dim3& thread_index();
const Dim3& block_index();
const Dim3& grid_dim();

// Exactly as many bytes as the launch asked for, with garbage in them when a block begins.
unsigned char* shared_memory();

void sync_block();

// Gives `x` to the lanes of the warp, and takes that of lane `from`.
std::uint32_t exchange(std::uint32_t x, std::uint32_t from);

std::uint32_t atomic_add(std::uint32_t* at, std::uint32_t x);
void atomic_max(std::uint32_t* at, std::uint32_t x);

// Until it is waited for, a copy leaves garbage behind.
void copy_async(void* shared, const void* global, std::uint32_t bytes);
void copy_async_commit();
void copy_async_wait(std::uint32_t pending);

void load_matrices(std::uint32_t (&r)[4], const void* row, bool transposed);
void multiply_add(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                  float (*to_float)(std::uint16_t));

// Ends the launch with this message.
[[noreturn]] void fail(const char* message);

template <class To, class From>
To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "");
  To to;
  std::memcpy(&to, &from, sizeof(To));
  return to;
}

// A device refuses addresses that are no multiple of the size of the access.
template <class W>
W load_aligned(const void* p) {
  if (reinterpret_cast<std::uintptr_t>(p) % sizeof(W) != 0) fail("a misaligned load");
  W x;
  std::memcpy(&x, p, sizeof(W));
  return x;
}
template <class W>
void store_aligned(void* p, const W& x) {
  if (reinterpret_cast<std::uintptr_t>(p) % sizeof(W) != 0) fail("a misaligned store");
  std::memcpy(p, &x, sizeof(W));
}

// 2^x, with results below the normal numbers flushed as the device's approximation does.
inline float exp2(float x) {
  const float y = ::exp2f(x);
  return y < 1.17549435e-38f ? 0.0f : y;
}
void sincos_pi(float x, float* s, float* c);

std::uint16_t float_to_half(float x);
std::uint16_t float_to_bfloat(float x);
float half_to_float(std::uint16_t bits);

}  // namespace cuda_host

#define threadIdx cuda_host::thread_index()
#define blockIdx cuda_host::block_index()
#define gridDim cuda_host::grid_dim()
