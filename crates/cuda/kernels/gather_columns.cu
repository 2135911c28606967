// gather_columns: out[r, j] = x[r, index[j]], an element a thread.
#include "column_index.cuh"

struct GatherColumnsArgs {
  const void* x;
  void* out;
  u64 rows;
  ColumnIndex index;
};

template <class T>
DEVICE void gather_columns(const GatherColumnsArgs& args) {
  const T* x = static_cast<const T*>(args.x);
  T* out = static_cast<T*>(args.out);
  each_column(args.index, args.rows,
              [&](u64 i, u64 row, u64 column) { out[i] = x[row * args.index.columns + column]; });
}

KERNEL(gather_columns_f32, GatherColumnsArgs, gather_columns<float>(args))
KERNEL(gather_columns_bf16, GatherColumnsArgs, gather_columns<bf16>(args))
KERNEL(gather_columns_f16, GatherColumnsArgs, gather_columns<f16>(args))
