// adamw: a step of Adam from gradient to parameter, an element a thread. With 8-bit states a block of threads takes a block
// of 256 elements at a time; the moments are decoded, moved, measured and encoded in registers.
#include "adam.cuh"
#include "exact.cuh"

struct AdamwArgs {
  const void* grad;
  void* param;
  void* m;  // Numbers, or codes [2, blocks, 64 words].
  void* v;  // Numbers, or nothing.
  float* absmax;      // [2, blocks], with codes.
  const float* maps;  // [2, 256], with codes.
  u64 n;
  u64 seed;
  u64 stream;
  float b1, c1, b2, c2, eps, step, keep, scale;
};

// 0 where it is below the normal numbers.
DEVICE float flush(float x) { return (float_bits(x) & 0x7F800000u) == 0 ? 0.0f : x; }

DEVICE bool usable(float x) { return (float_bits(x) & 0x7FFFFFFFu) <= 0x5D800000u; }  // 2^60.

// The moments of an element, before the step and after it.
struct Moved {
  float m, v;
  bool counts;
  DEVICE Moved(const AdamwArgs& args, float raw, float old_m, float old_v) {
    const float g = flush(multiply(flush(raw), args.scale));
    counts = usable(raw) && usable(g);
    m = flush(old_m);
    v = flush(old_v);
    if (!counts) return;
    m = flush(add(flush(multiply(args.b1, m)), flush(multiply(args.c1, g))));
    v = flush(add(flush(multiply(args.b2, v)), flush(multiply(args.c2, flush(multiply(g, g))))));
  }
  DEVICE float direction(const AdamwArgs& args) const { return counts ? m / (sqrtf(v) + args.eps) : 0.0f; }
};

template <u32 NOISE, class P>
DEVICE void move(const AdamwArgs& args, P* param, u64 i, const Moved& moved, const u32 (&half)[3]) {
  if (!moved.counts && args.keep != 0.0f) return;
  const float kept = args.keep == 0.0f ? 0.0f : args.keep * to_float(param[i]);
  param[i] = rounded<NOISE>(kept - args.step * moved.direction(args), half, 0, Of<P>());
}

template <u32 NOISE, class G, class P, class S>
DEVICE void adamw(const AdamwArgs& args) {
  const G* grad = static_cast<const G*>(args.grad);
  P* param = static_cast<P*>(args.param);
  S *m = static_cast<S*>(args.m), *v = static_cast<S*>(args.v);
  const u64 threads = u64(gridDim.x) * BLOCK;
  for (u64 i = u64(blockIdx.x) * BLOCK + threadIdx.x; i < args.n; i += threads) {
    const Moved moved(args, to_float(grad[i]), to_float(m[i]), to_float(v[i]));
    u32 half[3] = {0, 0, 0};
    if (NOISE) {
      const Noise noise(args.stream, args.seed, i);
      UNROLL
      for (u32 h = 0; h < 3; h++) half[h] = noise.half[h];
    }
    move<NOISE>(args, param, i, moved, half);
    m[i] = rounded<NOISE>(moved.m, half, 1, Of<S>());
    v[i] = rounded<NOISE>(moved.v, half, 2, Of<S>());
  }
}

struct Shared {
  float map[2][256];
  float middle[2][256];
  u32 greatest[2][BLOCK / WARP];
};

// The greatest magnitude of a block of threads, as bits; all threads get it.
DEVICE u32 greatest_of_block(float x, u32* of_warp) {
  u32 bits = float_bits(x) & 0x7FFFFFFFu;
  UNROLL
  for (u32 mask = WARP / 2; mask > 0; mask /= 2) {
    const u32 other = shuffle_xor(bits, mask);
    bits = bits > other ? bits : other;
  }
  if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = bits;
  sync_block();
  for (u32 w = 0; w < BLOCK / WARP; w++) bits = bits > of_warp[w] ? bits : of_warp[w];
  return bits;
}

DEVICE u8 encode(const float* middle, float x, float absmax) {
  const u32 exponent = float_bits(absmax) >> 23;
  const float inverse = bits_float((254u - (exponent < 1 ? 1 : exponent > 253 ? 253 : exponent)) << 23);
  const float scaled = flush(multiply(x, inverse)), top = multiply(absmax, inverse);
  u32 code = 0;
  UNROLL
  for (u32 bit = 128; bit > 0; bit /= 2)
    if (scaled >= multiply(middle[code + bit - 1], top)) code += bit;
  return u8(code);
}

template <u32 NOISE, class G, class P>
DEVICE void adamw_int8(const AdamwArgs& args) {
  Shared& s = *reinterpret_cast<Shared*>(shared_memory());
  const G* grad = static_cast<const G*>(args.grad);
  P* param = static_cast<P*>(args.param);
  const u32 t = threadIdx.x;
  const u64 blocks = (args.n + BLOCK - 1) / BLOCK;
  u8* codes[2] = {static_cast<u8*>(args.m), static_cast<u8*>(args.m) + BLOCK * blocks};
  for (u32 which = 0; which < 2; which++) {
    const float* map = args.maps + 256 * which;
    s.map[which][t] = map[t];
    s.middle[which][t] = t < 255 ? multiply(add(map[t], map[t + 1]), 0.5f) : infinity();
  }
  sync_block();
  for (u64 block = blockIdx.x; block < blocks; block += gridDim.x) {
    const u64 i = block * BLOCK + t;
    const bool inside = i < args.n;
    float old[2];
    for (u32 which = 0; which < 2; which++)
      old[which] = flush(multiply(s.map[which][codes[which][i]], flush(args.absmax[which * blocks + block])));
    Moved moved(args, inside ? to_float(grad[i]) : 0.0f, old[0], old[1]);
    if (inside) {
      u32 half[3] = {0, 0, 0};
      if (NOISE) half[0] = Noise(args.stream, args.seed, i).half[0];
      move<NOISE>(args, param, i, moved, half);
    } else {
      moved.m = moved.v = 0.0f;
    }
    const float values[2] = {moved.m, moved.v};
    for (u32 which = 0; which < 2; which++) {
      const float absmax = flush(bits_float(greatest_of_block(values[which], s.greatest[which])));
      codes[which][i] = encode(s.middle[which], values[which], absmax);
      if (t == 0) args.absmax[which * blocks + block] = absmax;
    }
    sync_block();  // Before the next block writes to `greatest`.
  }
}

#define ADAMW(name, NOISE, G, P, S) KERNEL(adamw_##name, AdamwArgs, adamw<NOISE, G, P, S>(args))
#define ADAMW_INT8(name, NOISE, G, P) KERNEL(adamw_##name, AdamwArgs, adamw_int8<NOISE, G, P>(args))
ADAMW(f32_f32_f32, 0, float, float, float)
ADAMW(f32_f32_bf16, 0, float, float, bf16)
ADAMW(f32_bf16_f32, 0, float, bf16, float)
ADAMW(f32_bf16_bf16, 0, float, bf16, bf16)
ADAMW(bf16_f32_f32, 0, bf16, float, float)
ADAMW(bf16_f32_bf16, 0, bf16, float, bf16)
ADAMW(bf16_bf16_f32, 0, bf16, bf16, float)
ADAMW(bf16_bf16_bf16, 0, bf16, bf16, bf16)
ADAMW(f32_f32_bf16_noise, 1, float, float, bf16)
ADAMW(f32_bf16_f32_noise, 1, float, bf16, float)
ADAMW(f32_bf16_bf16_noise, 1, float, bf16, bf16)
ADAMW(bf16_f32_bf16_noise, 1, bf16, float, bf16)
ADAMW(bf16_bf16_f32_noise, 1, bf16, bf16, float)
ADAMW(bf16_bf16_bf16_noise, 1, bf16, bf16, bf16)
ADAMW_INT8(f32_f32_int8, 0, float, float)
ADAMW_INT8(f32_bf16_int8, 0, float, bf16)
ADAMW_INT8(bf16_f32_int8, 0, bf16, float)
ADAMW_INT8(bf16_bf16_int8, 0, bf16, bf16)
ADAMW_INT8(f32_bf16_int8_noise, 1, float, bf16)
ADAMW_INT8(bf16_bf16_int8_noise, 1, bf16, bf16)
