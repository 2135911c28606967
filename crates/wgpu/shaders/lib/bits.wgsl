// Conversions between formats as integer work on their bits: exact for every input, whatever the device does about
// subnormals, NaN and rounding.

// The f32 that an f16 is.
fn widen_f16(half: u32) -> u32 {
  let sign = (half & 0x8000u) << 16u;
  let magnitude = half & 0x7fffu;
  if (magnitude >= 0x7c00u) { return sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13u); }
  // A subnormal: its fraction counts steps of 2^-24, and both that number and the product are normal.
  if (magnitude < 0x400u) { return sign | bitcast<u32>(f32(magnitude) * 5.9604644775390625e-8); }
  return sign | ((magnitude << 13u) + 0x38000000u);
}

// The nearest bf16 of an f32, ties to even.
fn narrow_bf16(bits: u32) -> u32 {
  if ((bits & 0x7fffffffu) > 0x7f800000u) { return (bits >> 16u) | 0x40u; }
  return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}

// The nearest f16 of an f32, ties to even.
fn narrow_f16(bits: u32) -> u32 {
  let sign = (bits >> 16u) & 0x8000u;
  let magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) { return sign | 0x7e00u; }
  if (magnitude >= 0x47800000u) { return sign | 0x7c00u; }
  if (magnitude >= 0x38800000u) {
    let rebased = magnitude - 0x38000000u;
    return sign | ((rebased + 0xfffu + ((rebased >> 13u) & 1u)) >> 13u);
  }
  // Subnormal: count steps of 2^-24.
  let shift = 126u - (magnitude >> 23u);
  if (shift > 24u) { return sign; }
  let fraction = (magnitude & 0x7fffffu) | 0x800000u;
  let rest = fraction & ((1u << shift) - 1u);
  let half = 1u << (shift - 1u);
  var steps = fraction >> shift;
  if (rest > half || (rest == half && (steps & 1u) == 1u)) { steps += 1u; }
  return sign | steps;
}

// The f32 of an integer: the nearest, ties to even; or, to be narrowed further, the neighbour towards zero with its
// last bit set if anything was lost, which rounds on as the integer itself would.
fn f32_of(negative: bool, magnitude: u32, odd: bool) -> u32 {
  if (magnitude == 0u) { return 0u; }
  let zeros = countLeadingZeros(magnitude);
  let aligned = magnitude << zeros;
  let rest = aligned & 0xffu;
  var fraction = aligned >> 8u;
  if (odd) {
    fraction |= select(0u, 1u, rest != 0u);
  } else if (rest > 0x80u || (rest == 0x80u && (fraction & 1u) == 1u)) {
    fraction += 1u;
  }
  // The leading bit of the fraction adds one to the exponent, and so does a carry.
  return select(0u, 0x80000000u, negative) | (((157u - zeros) << 23u) + fraction);
}

// The integer part of an f32 without its sign; at most 2^32 - 1, and 0 of NaN.
fn magnitude_of(bits: u32) -> u32 {
  let magnitude = bits & 0x7fffffffu;
  let exponent = magnitude >> 23u;
  if (magnitude > 0x7f800000u || exponent < 127u) { return 0u; }
  if (exponent > 158u) { return 0xffffffffu; }
  let fraction = (magnitude & 0x7fffffu) | 0x800000u;
  if (exponent <= 150u) { return fraction >> (150u - exponent); }
  return fraction << (exponent - 150u);
}
