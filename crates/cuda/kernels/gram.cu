// gram: out = alpha · x · xᵀ + beta · out, or of columns, on and below the diagonal: a tile a block, and none for tiles
// that lie above. Another kernel writes what is below the diagonal to its place above; it also follows a library, which
// knows no half.
#include "gemm.cuh"

struct GramArgs {
  Matrix x;
  void* out;
  u64 n;
  u64 k;
  float alpha;
  float beta;
};

template <class T, class Out, bool K_MAJOR>
DEVICE void gram(const GramArgs& args) {
  // Tiles are numbered row by row, each row up to the diagonal.
  const u64 number = blockIdx.x;
  u64 down = u64((sqrtf(8.0f * float(number) + 1.0f) - 1.0f) * 0.5f);
  while (down * (down + 1) / 2 > number) down--;
  while ((down + 1) * (down + 2) / 2 <= number) down++;
  const u64 row0 = down * TILE, column0 = (number - down * (down + 1) / 2) * TILE;
  const T* x = static_cast<const T*>(args.x.p);
  const Operand left = operand<T, K_MAJOR>(x, args.x.ld, row0, args.n);
  const Operand top = operand<T, K_MAJOR>(x, args.x.ld, column0, args.n);
  typename TileOf<T, K_MAJOR, K_MAJOR>::Type tile;
  tile.run(left, top, args.k);
  Out* out = static_cast<Out*>(args.out);
  UNROLL
  for (u32 i = 0; i < 8; i++) {
    const u64 row = row0 + tile.row(i);
    if (row >= args.n) continue;
    UNROLL
    for (u32 j = 0; j < 8; j++) {
      const u64 column = column0 + tile.column(j);
      if (column > row) continue;
      Out& at = out[row * args.n + column];
      const float before = args.beta == 0.0f ? 0.0f : args.beta * to_float(at);
      at = from_float<Out>(args.alpha * tile.acc[i][j] + before);
    }
  }
}

// Squares of 32 × 32 elements go through shared memory, so that both sides are read and written by rows.
constexpr u32 SIDE = 32;

template <class Out>
DEVICE void mirror(const GramArgs& args) {
  Out* square = reinterpret_cast<Out*>(shared_memory());
  Out* out = static_cast<Out*>(args.out);
  const u64 right = (args.n + SIDE - 1) / SIDE;
  const u64 row0 = blockIdx.x / right * SIDE, column0 = blockIdx.x % right * SIDE;
  if (column0 > row0) return;
  const u32 lane = threadIdx.x % SIDE;
  for (u32 i = threadIdx.x / SIDE; i < SIDE; i += BLOCK / SIDE) {
    const u64 row = row0 + i, column = column0 + lane;
    if (row < args.n && column < row) square[i * (SIDE + 1) + lane] = out[row * args.n + column];
  }
  sync_block();
  for (u32 i = threadIdx.x / SIDE; i < SIDE; i += BLOCK / SIDE) {
    const u64 row = row0 + lane, column = column0 + i;
    if (row < args.n && column < row) out[column * args.n + row] = square[lane * (SIDE + 1) + i];
  }
}

#define GRAM(type, out, blocks, T, Out)                                               \
  KERNEL_OCCUPIED(gram_n_##type##_##out, GramArgs, blocks, gram<T, Out, true>(args))  \
  KERNEL_OCCUPIED(gram_t_##type##_##out, GramArgs, blocks, gram<T, Out, false>(args))
GRAM(f32, f32, 1, float, float)
GRAM(bf16, bf16, 2, bf16, bf16)
GRAM(bf16, f32, 2, bf16, float)
GRAM(f16, f16, 2, f16, f16)
GRAM(f16, f32, 2, f16, float)
KERNEL(gram_mirror_f32, GramArgs, mirror<float>(args))
KERNEL(gram_mirror_bf16, GramArgs, mirror<bf16>(args))
KERNEL(gram_mirror_f16, GramArgs, mirror<f16>(args))
