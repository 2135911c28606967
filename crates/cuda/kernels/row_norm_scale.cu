// row_norm_scale: the norm of every row, the factor that clips it, and the sum of the clipped rows.
//
// Three steps: norms and factors by the reduction of rows; sums of columns over parts of the rows, in f64; the parts
// added up in their order. Factors go from step to step in f64.
#include "reduce.cuh"

struct RowNormScaleArgs {
  Team team;
  const void* x;
  float* norms;
  float* factors;
  double* exact_factors;  // [rows]
  double* sums;           // [row parts, columns]
  float* out;
  u64 columns;
  u32 row_parts;
  float max_norm;
};

template <class T>
struct Norms {
  typedef SumSquares Acc;
  const RowNormScaleArgs& args;
  DEVICE Acc start() const { return Acc::start(); }
  DEVICE Span span(u64 row) const { return Span{row * args.columns, args.columns}; }
  DEVICE void read(Acc& acc, u64, u64 first, u64 begin, u64 n, u32 lane, u32 lanes) const {
    stream(static_cast<const T*>(args.x) + first + begin, n, lane, lanes, [&](const auto& v, u64 i) { acc.take(v, i); });
  }
  DEVICE void finish(u64 row, u64, const Acc& acc) const {
    const double exact = sqrt(acc.sum);
    const float norm = float(exact);
    // What is not finite fails closed: such a row takes no part.
    const bool finite = norm - norm == 0.0f;
    const double factor = !finite ? 0.0 : exact > args.max_norm ? args.max_norm / exact : 1.0;
    args.norms[row] = norm;
    args.factors[row] = float(factor);
    args.exact_factors[row] = factor;
  }
};

// A thread adds up `N` neighbouring columns: 16 bytes where rows allow it, else one.
template <class T, u32 N>
DEVICE void add_columns(const RowNormScaleArgs& args) {
  const u64 column = (u64(blockIdx.x) * BLOCK + threadIdx.x) * N;
  if (column >= args.columns) return;
  const u64 share = (args.team.rows + args.row_parts - 1) / args.row_parts;
  const u64 begin = share * blockIdx.y, end = least<u64>(begin + share, args.team.rows);
  const T* x = static_cast<const T*>(args.x) + column;
  double sums[N] = {};
  for (u64 row = begin; row < end; row++) {
    const double factor = args.exact_factors[row];
    if (factor == 0.0) continue;  // Not 0 · infinity.
    float v[N];
    if constexpr (N == 1)
      v[0] = to_float(x[row * args.columns]);
    else
      unpack<T>(load_wide<Words4>(x + row * args.columns), v);
    UNROLL
    for (u32 i = 0; i < N; i++) sums[i] += factor * double(v[i]);
  }
  UNROLL
  for (u32 i = 0; i < N; i++) args.sums[u64(blockIdx.y) * args.columns + column + i] = sums[i];
}

DEVICE void add_parts(const RowNormScaleArgs& args) {
  const u64 column = u64(blockIdx.x) * BLOCK + threadIdx.x;
  if (column >= args.columns) return;
  double sum = 0.0;
  for (u32 part = 0; part < args.row_parts; part++) sum += args.sums[part * args.columns + column];
  args.out[column] = float(sum);
}

#define ROW_NORM_SCALE(type, T)                                                                       \
  KERNEL(row_norm_scale_##type, RowNormScaleArgs, reduce_rows(Norms<T>{args}, args.team))      \
  KERNEL(row_norm_scale_merge_##type, RowNormScaleArgs, merge_rows(Norms<T>{args}, args.team)) \
  KERNEL(row_norm_scale_columns_wide_##type, RowNormScaleArgs, add_columns<T, VECTOR<T>>(args)) \
  KERNEL(row_norm_scale_columns_##type, RowNormScaleArgs, add_columns<T, 1>(args))
ROW_NORM_SCALE(f32, float)
ROW_NORM_SCALE(bf16, bf16)
ROW_NORM_SCALE(f16, f16)
KERNEL(row_norm_scale_sum, RowNormScaleArgs, add_parts(args))
