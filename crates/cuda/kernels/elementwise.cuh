// Elementwise operations: eight elements a thread, in accesses of up to 16 bytes wherever inputs and outputs can be
// aligned together, one by one elsewhere.
#pragma once
#include "common.cuh"

constexpr u32 LANE_ELEMENTS = 8;

// Alignment that eight elements want.
template <class T>
constexpr u32 PACK_ALIGNMENT = sizeof(T) >= 2 ? 16 : 8;

template <class T>
union Pack8 {
  T v[LANE_ELEMENTS];
  Words2 words2[sizeof(T) * LANE_ELEMENTS / 8];
  Words4 words4[sizeof(T) * LANE_ELEMENTS >= 16 ? sizeof(T) * LANE_ELEMENTS / 16 : 1];
};

template <class T>
DEVICE void load8(Pack8<T>& pack, const T* x) {
  if constexpr (sizeof(T) == 1) {
    pack.words2[0] = load_wide<Words2>(x);
  } else {
    UNROLL
    for (u32 i = 0; i < sizeof(T) / 2; i++) pack.words4[i] = load_wide<Words4>(x + i * 16 / sizeof(T));
  }
}

template <class T>
DEVICE void store8(T* y, const Pack8<T>& pack) {
  if constexpr (sizeof(T) == 1) {
    store_wide(y, pack.words2[0]);
  } else {
    UNROLL
    for (u32 i = 0; i < sizeof(T) / 2; i++) store_wide(y + i * 16 / sizeof(T), pack.words4[i]);
  }
}

// The least number of elements after which both are aligned, or n.
template <class X, class Y>
DEVICE u64 common_head(const X* x, const Y* y, u64 n) {
  for (u64 h = 0; h < LANE_ELEMENTS && h < n; h++)
    if (address(x + h) % PACK_ALIGNMENT<X> == 0 && address(y + h) % PACK_ALIGNMENT<Y> == 0) return h;
  return n;
}

// y[i] = f(x[i], y[i]); `READS_Y` says whether f looks at its second argument.
template <bool READS_Y, class X, class Y, class F>
DEVICE void map(const X* x, Y* y, u64 n, F f) {
  const u64 thread = u64(blockIdx.x) * BLOCK + threadIdx.x, threads = u64(gridDim.x) * BLOCK;
  const u64 head = common_head(x, y, n), packs = (n - head) / LANE_ELEMENTS;
  const auto one = [&](u64 i) { y[i] = f(x[i], READS_Y ? y[i] : Y()); };
  for (u64 p = thread; p < packs; p += threads) {
    const u64 i = head + p * LANE_ELEMENTS;
    Pack8<X> in;
    Pack8<Y> out;
    load8(in, x + i);
    if (READS_Y) load8(out, y + i);
    UNROLL
    for (u32 e = 0; e < LANE_ELEMENTS; e++) out.v[e] = f(in.v[e], READS_Y ? out.v[e] : Y());
    store8(y + i, out);
  }
  for (u64 i = thread; i < head; i += threads) one(i);
  for (u64 i = head + packs * LANE_ELEMENTS + thread; i < n; i += threads) one(i);
}
