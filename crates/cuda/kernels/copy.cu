// copy: bit for bit, in the widest accesses (16, 8, 4, 2 or 1 bytes) at which both addresses can be aligned together.
#include "common.cuh"

struct CopyArgs {
  const u8* x;
  u8* out;
  u64 bytes;
};

template <class Unit>
DEVICE void copy(const CopyArgs& args) {
  const u64 thread = u64(blockIdx.x) * BLOCK + threadIdx.x, threads = u64(gridDim.x) * BLOCK;
  const u64 size = sizeof(Unit);
  const u64 head = least<u64>((size - address(args.out) % size) % size, args.bytes);
  const u64 units = (args.bytes - head) / size;
  for (u64 i = thread; i < head; i += threads) args.out[i] = args.x[i];
  for (u64 i = thread; i < units; i += threads)
    store_wide(args.out + head + i * size, load_wide<Unit>(args.x + head + i * size));
  for (u64 i = head + units * size + thread; i < args.bytes; i += threads) args.out[i] = args.x[i];
}

KERNEL(copy_16, CopyArgs, copy<Words4>(args))
KERNEL(copy_8, CopyArgs, copy<Words2>(args))
KERNEL(copy_4, CopyArgs, copy<u32>(args))
KERNEL(copy_2, CopyArgs, copy<u16>(args))
KERNEL(copy_1, CopyArgs, copy<u8>(args))
