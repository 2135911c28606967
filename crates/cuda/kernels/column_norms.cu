// column_norms: the Euclidean norm of every column. Squares of f32 are exact in f64, in which they are added up over parts
// of the rows; a second kernel adds the parts in their order.
#include "common.cuh"

struct ColumnNormsArgs {
  const void* x;
  double* sums;  // [parts, columns]
  float* out;
  u64 rows;
  u64 columns;
  u64 parts;
};

// A thread adds up `N` neighbouring columns: 16 bytes where rows allow it, else one.
template <class T, u32 N>
DEVICE void add_squares(const ColumnNormsArgs& args) {
  const u64 column = (u64(blockIdx.x) * BLOCK + threadIdx.x) * N;
  if (column >= args.columns) return;
  const u64 share = (args.rows + args.parts - 1) / args.parts;
  const u64 begin = share * blockIdx.y, end = least<u64>(begin + share, args.rows);
  const T* x = static_cast<const T*>(args.x) + column;
  double sums[N] = {};
  for (u64 row = begin; row < end; row++) {
    float v[N];
    if constexpr (N == 1)
      v[0] = to_float(x[row * args.columns]);
    else
      unpack<T>(load_wide<Words4>(x + row * args.columns), v);
    UNROLL
    for (u32 i = 0; i < N; i++) sums[i] += double(v[i]) * double(v[i]);
  }
  UNROLL
  for (u32 i = 0; i < N; i++) args.sums[u64(blockIdx.y) * args.columns + column + i] = sums[i];
}

DEVICE void roots(const ColumnNormsArgs& args) {
  const u64 column = u64(blockIdx.x) * BLOCK + threadIdx.x;
  if (column >= args.columns) return;
  double sum = 0.0;
  for (u64 part = 0; part < args.parts; part++) sum += args.sums[part * args.columns + column];
  args.out[column] = float(sqrt(sum));
}

#define COLUMN_NORMS(type, T)                                                           \
  KERNEL(column_norms_wide_##type, ColumnNormsArgs, add_squares<T, VECTOR<T>>(args)) \
  KERNEL(column_norms_##type, ColumnNormsArgs, add_squares<T, 1>(args))
COLUMN_NORMS(f32, float)
COLUMN_NORMS(bf16, bf16)
COLUMN_NORMS(f16, f16)
KERNEL(column_norms_roots, ColumnNormsArgs, roots(args))
