// linear_nll: nll of hidden · headᵀ without the logits in memory.
//
// A block walks along a group of tiles of the vocabulary for 128 rows. A tile of logits stays in registers; each thread
// reduces its 8 logits of a row to a maximum and a sum of exponentials, and the 16 threads that share the row leave
// theirs in shared memory, where one thread merges them in their order into the row's running pair. A second kernel
// merges the pairs of all groups, in their order, with the logit of the target, which the one thread that met it wrote.
#include "gemm.cuh"
#include "loss.cuh"

struct LinearNllArgs {
  Logits logits;
  Targets targets;
  const void* hidden;
  const void* head;
  float* out;
  LogSum* partials;      // [groups, rows]
  float* target_logits;  // [rows]
  u64 rows;
  u64 d;
  u64 groups;
  u64 tiles;  // Of a group.
};

template <class T>
DEVICE void linear_nll(const LinearNllArgs& args) {
  typedef typename TileOf<T, true, true>::Type Tile;
  // Behind the tile's stages, whose place the pairs of a tile take once it is done.
  LogSum* pairs = reinterpret_cast<LogSum*>(shared_memory());
  LogSum* running = reinterpret_cast<LogSum*>(shared_memory() + Tile::SHARED);
  u64* targets = reinterpret_cast<u64*>(running + TILE);
  const u64 row_tiles = (args.rows + TILE - 1) / TILE;
  // Blocks that run at one time share a piece of the head.
  const u64 row0 = blockIdx.x % row_tiles * TILE, group = blockIdx.x / row_tiles;
  if (threadIdx.x < TILE) {
    running[threadIdx.x] = LogSum::start();
    targets[threadIdx.x] = row0 + threadIdx.x < args.rows ? args.targets.at(row0 + threadIdx.x) : ~0ull;
  }
  sync_block();
  const Operand hidden = operand<T, true>(static_cast<const T*>(args.hidden), args.d, row0, args.rows);
  for (u64 t = group * args.tiles; t < (group + 1) * args.tiles && t * TILE < args.logits.vocab; t++) {
    const u64 column0 = t * TILE;
    Tile tile;
    const Operand head = operand<T, true>(static_cast<const T*>(args.head), args.d, column0, args.logits.vocab);
    tile.run(hidden, head, args.d);
    UNROLL
    for (u32 i = 0; i < 8; i++) {
      const u32 row = tile.row(i);
      const u64 target = targets[row] - column0;
      float z[8];
      UNROLL
      for (u32 j = 0; j < 8; j++) {
        const u32 column = tile.column(j);
        z[j] = column < head.rows ? args.logits.at(tile.acc[i][j], column0 + column) : -infinity();
        if (column == target && column < head.rows) args.target_logits[row0 + row] = z[j];
      }
      LogSum pair = LogSum::start();
      pair.take(z, 0);
      pairs[row * SLOTS + tile.slot()] = pair;
    }
    sync_block();
    if (threadIdx.x < TILE) {
      LogSum sum = running[threadIdx.x];
      for (u32 slot = 0; slot < SLOTS; slot++) sum.merge(pairs[threadIdx.x * SLOTS + slot]);
      running[threadIdx.x] = sum;
    }
    sync_block();
  }
  if (threadIdx.x < TILE && row0 + threadIdx.x < args.rows)
    args.partials[group * args.rows + row0 + threadIdx.x] = running[threadIdx.x];
}

DEVICE void merge(const LinearNllArgs& args) {
  const u64 row = u64(blockIdx.x) * BLOCK + threadIdx.x;
  if (row >= args.rows) return;
  if (args.targets.at(row) >= args.logits.vocab) {
    report_fault(args.targets.status, row);
    args.out[row] = nan();
    return;
  }
  LogSum sum = args.partials[row];
  for (u64 group = 1; group < args.groups; group++) sum.merge(args.partials[group * args.rows + row]);
  args.out[row] = sum.above(args.target_logits[row]);
}

KERNEL_OCCUPIED(linear_nll_f32, LinearNllArgs, 1, linear_nll<float>(args))
KERNEL_OCCUPIED(linear_nll_bf16, LinearNllArgs, 2, linear_nll<bf16>(args))
KERNEL_OCCUPIED(linear_nll_f16, LinearNllArgs, 2, linear_nll<f16>(args))
KERNEL(linear_nll_merge, LinearNllArgs, merge(args))
