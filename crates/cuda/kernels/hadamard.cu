// hadamard: the Walsh-Hadamard transform of blocks that lie one behind the other. A block of threads has 4096 elements, whole
// blocks, which wait between the steps in shared memory.
#include "common.cuh"

constexpr u32 TILE = 4096;

struct HadamardArgs {
  const void* x;
  void* out;
  u64 n;
  u32 block;
  float factor;
};

template <class T>
DEVICE void hadamard(const HadamardArgs& args) {
  const T* x = static_cast<const T*>(args.x);
  T* out = static_cast<T*>(args.out);
  float* sums = reinterpret_cast<float*>(shared_memory());
  for (u64 first = u64(blockIdx.x) * TILE; first < args.n; first += u64(gridDim.x) * TILE) {
    const u32 len = u32(least<u64>(TILE, args.n - first));
    for (u32 i = threadIdx.x; i < TILE; i += BLOCK) sums[i] = i < len ? to_float(x[first + i]) : 0.0f;
    for (u32 half = 1; half < args.block; half *= 2) {
      sync_block();
      for (u32 i = threadIdx.x; i < TILE / 2; i += BLOCK) {
        const u32 low = 2 * i - (i & (half - 1));
        const float a = sums[low], b = sums[low + half];
        sums[low] = a + b;
        sums[low + half] = a - b;
      }
    }
    sync_block();
    for (u32 i = threadIdx.x; i < len; i += BLOCK) out[first + i] = from_float<T>(sums[i] * args.factor);
    sync_block();  // Before the next tile is written there.
  }
}

KERNEL(hadamard_f32, HadamardArgs, hadamard<float>(args))
KERNEL(hadamard_bf16, HadamardArgs, hadamard<bf16>(args))
KERNEL(hadamard_f16, HadamardArgs, hadamard<f16>(args))
