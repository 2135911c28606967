// philox: Philox4x32-10 (Salmon et al. 2011). A thread makes one block of the generator, four draws; they are numbered
// from `offset` on, so the first and the last block may be cut.
#include "philox.cuh"

struct PhiloxArgs {
  void* out;
  u64 n;
  u64 seed;
  u64 stream;
  u64 offset;
};

DEVICE float uniform(u32 bits) { return (float(bits >> 9) + 0.5f) * (1.0f / 8388608.0f); }

struct Bits {
  DEVICE static Block4 of(Block4 b) { return b; }
};
struct Uniform {
  DEVICE static Block4 of(Block4 b) {
    UNROLL
    for (u32 i = 0; i < 4; i++) b.w[i] = float_bits(uniform(b.w[i]));
    return b;
  }
};
struct Normal {  // Box and Muller, with the angle in half turns so that it is exact.
  DEVICE static Block4 of(Block4 b) {
    UNROLL
    for (u32 i = 0; i < 4; i += 2) {
      const float radius = sqrtf(-2.0f * logf(uniform(b.w[i])));
      float sine, cosine;
      sincos_pi(2.0f * uniform(b.w[i + 1]), &sine, &cosine);
      b.w[i] = float_bits(radius * cosine);
      b.w[i + 1] = float_bits(radius * sine);
    }
    return b;
  }
};

template <class Draw>
DEVICE void philox(const PhiloxArgs& args) {
  u32* out = static_cast<u32*>(args.out);
  const u64 first = args.offset / 4, cut = args.offset % 4;
  const u64 blocks = (cut + args.n + 3) / 4, threads = u64(gridDim.x) * BLOCK;
  for (u64 b = u64(blockIdx.x) * BLOCK + threadIdx.x; b < blocks; b += threads) {
    const Block4 draws = Draw::of(philox4x32_10(first + b, args.stream, args.seed));
    // Draw d of block b is element 4 b + d - cut.
    const u64 at = 4 * b - cut;
    if (4 * b >= cut && at + 4 <= args.n && address(out + at) % 16 == 0) {
      store_wide(out + at, Words4{{draws.w[0], draws.w[1], draws.w[2], draws.w[3]}});
      continue;
    }
    UNROLL
    for (u32 d = 0; d < 4; d++)
      if (4 * b + d >= cut && at + d < args.n) out[at + d] = draws.w[d];
  }
}

KERNEL(philox_bits, PhiloxArgs, philox<Bits>(args))
KERNEL(philox_uniform, PhiloxArgs, philox<Uniform>(args))
KERNEL(philox_normal, PhiloxArgs, philox<Normal>(args))
