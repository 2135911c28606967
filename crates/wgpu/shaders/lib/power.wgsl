// Powers of two.

fn is_finite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }

// One among the normal numbers.
fn power(exponent: i32) -> f32 { return bitcast<f32>(u32(exponent + 127) << 23u); }

// The exponent of the power of two at or below a normal number, given its bits without the sign; 0 for 0 and for what is
// not finite.
fn exponent_of(bits: u32) -> i32 {
  if (bits == 0u || bits >= 0x7f800000u) { return 0; }
  return max(i32(bits >> 23u), 1) - 127;
}

// A number times a power of two, in two steps, each of which is a normal number.
fn scaled(x: f32, exponent: i32) -> f32 {
  let half = exponent / 2;
  return x * power(half) * power(exponent - half);
}

// A number times the square of a power of two.
fn squared_scaled(x: f32, exponent: i32) -> f32 { return scaled(scaled(x, exponent), exponent); }
