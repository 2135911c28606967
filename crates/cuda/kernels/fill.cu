// fill: every element one value. The element's bytes are repeated over a word, so that the byte at an address depends on
// the address alone.
#include "common.cuh"

struct FillArgs {
  u8* out;
  u64 bytes;
  u32 pattern;
};

DEVICE void fill(const FillArgs& args) {
  const u64 thread = u64(blockIdx.x) * BLOCK + threadIdx.x, threads = u64(gridDim.x) * BLOCK;
  const u64 head = least<u64>((16 - address(args.out) % 16) % 16, args.bytes), packs = (args.bytes - head) / 16;
  const auto one = [&](u64 i) { args.out[i] = u8(args.pattern >> (address(args.out + i) % 4 * 8)); };
  for (u64 i = thread; i < head; i += threads) one(i);
  for (u64 p = thread; p < packs; p += threads)
    store_wide(args.out + head + 16 * p, Words4{{args.pattern, args.pattern, args.pattern, args.pattern}});
  for (u64 i = head + 16 * packs + thread; i < args.bytes; i += threads) one(i);
}

KERNEL(fill_bytes, FillArgs, fill(args))
