// matmul: out = alpha · op(a) · op(b) + beta · out, a tile a block. What runs where cuBLASLt cannot be loaded.
#include "gemm.cuh"

struct MatmulArgs {
  Matrix a;
  Matrix b;
  void* out;
  u64 stride_a;  // Elements from one product of the batch to the next; that of b is 0 when all share it.
  u64 stride_b;
  u64 m;
  u64 n;
  u64 k;
  float alpha;
  float beta;
};

// Tiles that run at one time share rows and columns: eight tiles down, then one to the right.
constexpr u64 BAND = 8;

template <class T, class Out, bool A_K_MAJOR, bool B_K_MAJOR>
DEVICE void matmul(const MatmulArgs& args) {
  const u64 down = (args.m + TILE - 1) / TILE, right = (args.n + TILE - 1) / TILE;
  const u64 band = blockIdx.x / (BAND * right), in_band = blockIdx.x % (BAND * right);
  const u64 height = least<u64>(BAND, down - band * BAND);
  const u64 row0 = (band * BAND + in_band % height) * TILE, column0 = in_band / height * TILE;
  const T* a = static_cast<const T*>(args.a.p) + u64(blockIdx.z) * args.stride_a;
  const T* b = static_cast<const T*>(args.b.p) + u64(blockIdx.z) * args.stride_b;
  const Operand left = operand<T, A_K_MAJOR>(a, args.a.ld, row0, args.m);
  const Operand top = operand<T, B_K_MAJOR>(b, args.b.ld, column0, args.n);
  typename TileOf<T, A_K_MAJOR, B_K_MAJOR>::Type tile;
  tile.run(left, top, args.k);
  Out* out = static_cast<Out*>(args.out) + (u64(blockIdx.z) * args.m + row0) * args.n + column0;
  UNROLL
  for (u32 i = 0; i < 8; i++) {
    Out* line = out + tile.row(i) * args.n + tile.column(0);
    if (tile.row(i) >= left.rows) continue;
    UNROLL
    for (u32 j = 0; j < 8; j++) {
      if (tile.column(j) >= top.rows) continue;
      Out& at = line[tile.column(j) - tile.column(0)];
      const float before = args.beta == 0.0f ? 0.0f : args.beta * to_float(at);
      at = from_float<Out>(args.alpha * tile.acc[i][j] + before);
    }
  }
}

#define MATMUL(type, out, blocks, T, Out)                                                           \
  KERNEL_OCCUPIED(matmul_nn_##type##_##out, MatmulArgs, blocks, matmul<T, Out, true, false>(args))  \
  KERNEL_OCCUPIED(matmul_nt_##type##_##out, MatmulArgs, blocks, matmul<T, Out, true, true>(args))   \
  KERNEL_OCCUPIED(matmul_tn_##type##_##out, MatmulArgs, blocks, matmul<T, Out, false, false>(args)) \
  KERNEL_OCCUPIED(matmul_tt_##type##_##out, MatmulArgs, blocks, matmul<T, Out, false, true>(args))
MATMUL(f32, f32, 1, float, float)
MATMUL(bf16, bf16, 2, bf16, bf16)
MATMUL(bf16, f32, 2, bf16, float)
MATMUL(f16, f16, 2, f16, f16)
MATMUL(f16, f32, 2, f16, float)
