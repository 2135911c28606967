// Columns by their numbers, which ascend.
#pragma once
#include "common.cuh"

struct ColumnIndex {
  const u32* index;  // [k]
  u32* status;
  u64 k;
  u64 columns;
  u32 is_signed;

  // The column at position j; `columns` and a fault, where it lies outside or is not above the one before.
  DEVICE u64 at(u64 j) const {
    const u64 column = index_at(index, j, is_signed);
    if (column < columns && (j == 0 || index_at(index, j - 1, is_signed) < column)) return column;
    report_fault(status, j);
    return columns;
  }
};

// Calls `one(element, row, column)` for the elements of [rows, k].
template <class F>
DEVICE void each_column(const ColumnIndex& index, u64 rows, F one) {
  const u64 thread = u64(blockIdx.x) * BLOCK + threadIdx.x, threads = u64(gridDim.x) * BLOCK;
  const u64 n = rows * index.k;
  for (u64 i = thread; i < n; i += threads) {
    const u64 row = i / index.k, column = index.at(i - row * index.k);
    if (column < index.columns) one(i, row, column);
  }
}
