// scatter_columns: out[r, index[j]] += y[r, j] in place, an element a thread; no two meet.
#include "column_index.cuh"

struct ScatterColumnsArgs {
  const void* y;
  void* out;
  u64 rows;
  ColumnIndex index;
};

template <class T>
DEVICE void scatter_columns(const ScatterColumnsArgs& args) {
  const T* y = static_cast<const T*>(args.y);
  T* out = static_cast<T*>(args.out);
  each_column(args.index, args.rows, [&](u64 i, u64 row, u64 column) {
    T& sum = out[row * args.index.columns + column];
    sum = from_float<T>(to_float(sum) + to_float(y[i]));
  });
}

KERNEL(scatter_columns_f32, ScatterColumnsArgs, scatter_columns<float>(args))
KERNEL(scatter_columns_bf16, ScatterColumnsArgs, scatter_columns<bf16>(args))
KERNEL(scatter_columns_f16, ScatterColumnsArgs, scatter_columns<f16>(args))
