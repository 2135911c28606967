// Kernels that are wrong on purpose: the shim must notice each.
#include "../../kernels/mma.cuh"

struct FaultyArgs {
  u32* out;
  u64 n;
};

// Reverses the numbers of the threads by way of shared memory.
template <bool WAITS>
DEVICE void reverse(const FaultyArgs& args) {
  u32* shared = reinterpret_cast<u32*>(shared_memory());
  shared[threadIdx.x] = threadIdx.x;
  if (WAITS) sync_block();
  args.out[threadIdx.x] = shared[BLOCK - 1 - threadIdx.x];
}

DEVICE void stuck() {
  if (threadIdx.x < WARP)
    sync_block();
  else
    while (shuffle_xor(threadIdx.x, 1) != 0) sync_block();
}

DEVICE void half_a_warp(const FaultyArgs& args) {
  if (threadIdx.x % WARP < WARP / 2) args.out[threadIdx.x] = shuffle_xor(threadIdx.x, 1);
}

DEVICE void different(const FaultyArgs& args) {
  u32 r[4];
  if (threadIdx.x % 2 == 0)
    args.out[threadIdx.x] = shuffle_xor(threadIdx.x, 1);
  else
    load_matrices<false>(r, shared_memory());
}

DEVICE void misaligned(const FaultyArgs& args) { store_wide(args.out + 1, Words4{{1, 2, 3, 4}}); }

// Reads what an asynchronous copy brings, after waiting for it or not.
template <bool WAITS>
DEVICE void early(const FaultyArgs& args) {
  if (threadIdx.x == 0) {
    copy_async(shared_memory(), args.out, 16);
    copy_async_commit();
    if (WAITS) copy_async_wait<0>();
    args.out[4] = *reinterpret_cast<u32*>(shared_memory());
  }
}

DEVICE void beyond(const FaultyArgs& args) {
  if (threadIdx.x == 0) args.out[0] = reinterpret_cast<u32*>(shared_memory())[args.n];
}

KERNEL(reverse_right, FaultyArgs, reverse<true>(args))
KERNEL(reverse_race, FaultyArgs, reverse<false>(args))
KERNEL(stuck, FaultyArgs, (void)args; stuck())
KERNEL(half_a_warp, FaultyArgs, half_a_warp(args))
KERNEL(different, FaultyArgs, different(args))
KERNEL(misaligned, FaultyArgs, misaligned(args))
KERNEL(copy_right, FaultyArgs, early<true>(args))
KERNEL(copy_early, FaultyArgs, early<false>(args))
KERNEL(beyond, FaultyArgs, beyond(args))
