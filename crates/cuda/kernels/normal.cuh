// Two normal numbers of 128 random bits, as `normal_pair` of the core's `rng` module defines them: the same bits.
#pragma once
#include "exact.cuh"

struct Pair {
  float first;
  float second;
};

// (high 2^32 + low + halves / 2) 2^-64. Each part has at most 24 bits.
DEVICE float fraction(u32 high, u32 low, u32 halves) {
  const float first = multiply(float(high >> 8), 5.9604644775390625e-8f);
  const float second = multiply(float((high & 0xFFu) << 16 | low >> 16), 3.5527136788005009e-15f);
  const float third = multiply(float((low & 0xFFFFu) << 1 | halves), 2.7105054312137611e-20f);
  return add(first, add(second, third));
}

DEVICE float newton(float half, float y) {
  return multiply(y, add(1.5f, -multiply(multiply(half, y), y)));
}

DEVICE float root_of(float x) {
  const float half = multiply(0.5f, x);
  float y = bits_float(0x5F3759DFu - (float_bits(x) >> 1));
  y = newton(half, y);
  y = newton(half, y);
  y = newton(half, y);
  return multiply(x, y);
}

DEVICE float horner(float p, float x, float c) { return add(multiply(p, x), c); }

DEVICE float radius(u32 high, u32 low) {
  constexpr u32 LOWEST = 0x3F3504F3u, ONE = 0x3F800000u;
  const u32 bits = float_bits(fraction(high, low, 1));
  const bool near_one = bits >= LOWEST;
  const u32 shifted = bits + (ONE - LOWEST);
  const float m = bits_float((shifted & 0x007FFFFFu) + LOWEST);
  const float f = near_one ? -fraction(~high, ~low, 1) : add(m, -1.0f);
  const float n = near_one ? 0.0f : float(127 - i32(shifted >> 23));
  float p = 7.0376836e-2f;
  p = horner(p, f, -1.15146103e-1f);
  p = horner(p, f, 1.1676999e-1f);
  p = horner(p, f, -1.2420141e-1f);
  p = horner(p, f, 1.4249323e-1f);
  p = horner(p, f, -1.6668057e-1f);
  p = horner(p, f, 2.0000715e-1f);
  p = horner(p, f, -2.4999994e-1f);
  p = horner(p, f, 3.3333331e-1f);
  const float square = multiply(f, f);
  const float tail = add(multiply(multiply(p, f), square), -multiply(0.5f, square));
  const float rest = add(f, add(tail, -multiply(n, -2.1219444e-4f)));
  return root_of(multiply(2.0f, add(multiply(n, 0.6933594f), -rest)));
}

DEVICE Pair normal_pair(u32 w0, u32 w1, u32 w2, u32 w3) {
  const u32 octant = w2 >> 29, flip = 0u - (octant & 1u);
  const u32 high = w2 ^ flip, low = w3 ^ flip;
  const float x = multiply(fraction(high << 3 | low >> 29, low << 3 | 4u, 0), 0.785398185f);
  const float z = multiply(x, x);
  float s = -1.9515296e-4f;
  s = horner(s, z, 8.332161e-3f);
  s = horner(s, z, -1.6666655e-1f);
  s = add(multiply(multiply(s, z), x), x);
  float c = 2.4433157e-5f;
  c = horner(c, z, -1.3887316e-3f);
  c = horner(c, z, 4.1666646e-2f);
  c = add(add(multiply(multiply(c, z), z), -multiply(0.5f, z)), 1.0f);
  const bool swap = ((octant + 1u) & 2u) != 0u;
  const u32 minus_sine = octant >> 2 << 31, minus_cosine = ((octant + 2u) >> 2 & 1u) << 31;
  const float sine = bits_float(float_bits(swap ? c : s) ^ minus_sine);
  const float cosine = bits_float(float_bits(swap ? s : c) ^ minus_cosine);
  const float r = radius(w0, w1);
  return Pair{multiply(r, cosine), multiply(r, sine)};
}
