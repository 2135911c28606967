// cast: the same numbers as another type. To a narrower float: to nearest, ties to even; to an integer: towards zero,
// saturating, NaN to 0.
#include "elementwise.cuh"

struct CastArgs {
  const void* x;
  void* out;
  u64 n;
};

// An integer's magnitude as f32, with the last bit set when digits were lost (rounding to odd), so that a later
// rounding to fewer digits is as if it were the only one.
DEVICE float odd_float(u32 x) {
  if (x < 1u << 24) return float(x);
  return float(x >> 8 | ((x & 255) != 0)) * 256.0f;
}

// A float towards zero into [low, high], given as the float bounds that are beyond them.
DEVICE i32 to_i32(float x) {
  return x != x ? 0 : x >= 2147483648.0f ? 0x7FFFFFFF : x <= -2147483648.0f ? i32(0x80000000u) : i32(x);
}
DEVICE u32 to_u32(float x) { return !(x > 0.0f) ? 0 : x >= 4294967296.0f ? 0xFFFFFFFFu : u32(x); }

template <class Y>
struct To {  // To a float of any kind.
  DEVICE static Y from(u32 x) { return sizeof(Y) == 4 ? from_float<Y>(float(x)) : from_float<Y>(odd_float(x)); }
  DEVICE static Y from(u8 x) { return from_float<Y>(float(x)); }
  DEVICE static Y from(i32 x) {
    if (sizeof(Y) == 4) return from_float<Y>(float(x));
    const float size = odd_float(x < 0 ? 0u - u32(x) : u32(x));
    return from_float<Y>(x < 0 ? -size : size);
  }
  template <class X>
  DEVICE static Y from(X x) {
    return from_float<Y>(to_float(x));
  }
};
template <>
struct To<u8> {
  DEVICE static u8 from(i32 x) { return x < 0 ? 0 : u8(least<i32>(x, 255)); }
  DEVICE static u8 from(u32 x) { return u8(least<u32>(x, 255)); }
  template <class X>
  DEVICE static u8 from(X x) {
    return u8(least<u32>(to_u32(to_float(x)), 255));
  }
};
template <>
struct To<i32> {
  DEVICE static i32 from(u8 x) { return x; }
  DEVICE static i32 from(u32 x) { return i32(least<u32>(x, 0x7FFFFFFFu)); }
  template <class X>
  DEVICE static i32 from(X x) {
    return to_i32(to_float(x));
  }
};
template <>
struct To<u32> {
  DEVICE static u32 from(u8 x) { return x; }
  DEVICE static u32 from(i32 x) { return x < 0 ? 0 : u32(x); }
  template <class X>
  DEVICE static u32 from(X x) {
    return to_u32(to_float(x));
  }
};

template <class X, class Y>
DEVICE void cast(const CastArgs& args) {
  map<false>(static_cast<const X*>(args.x), static_cast<Y*>(args.out), args.n, [](X x, Y) { return To<Y>::from(x); });
}

#define CAST(x, y, X, Y) KERNEL(cast_##x##_##y, CastArgs, cast<X, Y>(args))
CAST(f32, bf16, float, bf16)
CAST(f32, f16, float, f16)
CAST(f32, u8, float, u8)
CAST(f32, i32, float, i32)
CAST(f32, u32, float, u32)
CAST(bf16, f32, bf16, float)
CAST(bf16, f16, bf16, f16)
CAST(bf16, u8, bf16, u8)
CAST(bf16, i32, bf16, i32)
CAST(bf16, u32, bf16, u32)
CAST(f16, f32, f16, float)
CAST(f16, bf16, f16, bf16)
CAST(f16, u8, f16, u8)
CAST(f16, i32, f16, i32)
CAST(f16, u32, f16, u32)
CAST(u8, f32, u8, float)
CAST(u8, bf16, u8, bf16)
CAST(u8, f16, u8, f16)
CAST(u8, i32, u8, i32)
CAST(u8, u32, u8, u32)
CAST(i32, f32, i32, float)
CAST(i32, bf16, i32, bf16)
CAST(i32, f16, i32, f16)
CAST(i32, u8, i32, u8)
CAST(i32, u32, i32, u32)
CAST(u32, f32, u32, float)
CAST(u32, bf16, u32, bf16)
CAST(u32, f16, u32, f16)
CAST(u32, u8, u32, u8)
CAST(u32, i32, u32, i32)
