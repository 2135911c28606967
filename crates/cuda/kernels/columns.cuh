// Elementwise operations with a number for each column, eight elements a thread where all operands can be aligned
// together and eight elements are in one row.
#pragma once
#include "elementwise.cuh"

// Calls `one(i, column)` for single elements or `eight(i, column)` for eight from i on.
template <class One, class Eight>
DEVICE void by_columns(u64 n, u64 columns, bool aligned, One one, Eight eight) {
  const u64 thread = u64(blockIdx.x) * BLOCK + threadIdx.x, threads = u64(gridDim.x) * BLOCK;
  if (aligned && columns % LANE_ELEMENTS == 0) {
    for (u64 i = thread * LANE_ELEMENTS; i < n; i += threads * LANE_ELEMENTS) eight(i, i % columns);
    return;
  }
  for (u64 i = thread; i < n; i += threads) one(i, i % columns);
}
