// gather: rows of a table, a warp a row.
#include "common.cuh"

struct GatherArgs {
  const void* table;
  const u32* ids;
  u32* status;
  void* out;
  u64 rows;
  u64 d;
  u64 vocab;
  u32 is_signed;
};

template <class T, class Out>
DEVICE void copy_row(const T* from, Out* to, u64 d, u32 lane) {
  if constexpr (sizeof(T) == sizeof(Out)) {
    // The same type: bits, 16 bytes at a time where both rows allow it.
    if (address(from) % 16 == 0 && address(to) % 16 == 0) {
      const u64 packs = d / VECTOR<T>;
      for (u64 i = lane; i < packs; i += WARP) store_wide(to + i * VECTOR<T>, load_wide<Words4>(from + i * VECTOR<T>));
      for (u64 i = packs * VECTOR<T> + lane; i < d; i += WARP) to[i] = from[i];
      return;
    }
    for (u64 i = lane; i < d; i += WARP) to[i] = from[i];
  } else {
    for (u64 i = lane; i < d; i += WARP) to[i] = to_float(from[i]);
  }
}

template <class T, class Out>
DEVICE void gather(const GatherArgs& args) {
  const u32 lane = threadIdx.x % WARP;
  const u64 warp = u64(blockIdx.x) * (BLOCK / WARP) + threadIdx.x / WARP, warps = u64(gridDim.x) * (BLOCK / WARP);
  for (u64 row = warp; row < args.rows; row += warps) {
    const u64 id = index_at(args.ids, row, args.is_signed);
    if (id >= args.vocab) {
      if (lane == 0) report_fault(args.status, row);
      continue;
    }
    copy_row(static_cast<const T*>(args.table) + id * args.d, static_cast<Out*>(args.out) + row * args.d, args.d, lane);
  }
}

KERNEL(gather_f32_f32, GatherArgs, gather<float, float>(args))
KERNEL(gather_bf16_bf16, GatherArgs, gather<bf16, bf16>(args))
KERNEL(gather_bf16_f32, GatherArgs, gather<bf16, float>(args))
KERNEL(gather_f16_f16, GatherArgs, gather<f16, f16>(args))
KERNEL(gather_f16_f32, GatherArgs, gather<f16, float>(args))
