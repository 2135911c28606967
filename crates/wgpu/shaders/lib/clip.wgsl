// The factor that clips a gradient, as `ClipRule` of the core defines it; needs `pair`. Roots and quotients are worked
// out in integers, bit by bit, since WGSL does not say how its own are rounded: there are few of them.

const margin = 0.99999904632568359375;
const greatest_bits = 0x7f7fffffu;
const smallest_bits = 0x00800000u;
const least_bound = 1e-18;

// The number with this exponent and 25 bits of fraction, the last of which is beyond what is kept, and whether there was
// more behind: rounded to the nearest, ties to even. 0 below the normal numbers, at most the greatest.
fn number_of(exponent: i32, fraction: u32, more: bool) -> u32 {
  var kept = fraction >> 1u;
  if ((fraction & 1u) == 1u && (more || (kept & 1u) == 1u)) { kept += 1u; }
  if (exponent < -126) { return 0u; }
  if (exponent > 127) { return greatest_bits; }
  // A carry adds one to the exponent.
  return min((u32(exponent + 127) << 23u) + (kept - 0x800000u), greatest_bits);
}

// Of two positive normal numbers.
fn quotient_of(a: u32, b: u32) -> u32 {
  var rest = (a & 0x7fffffu) | 0x800000u;
  let divisor = (b & 0x7fffffu) | 0x800000u;
  var exponent = i32(a >> 23u) - i32(b >> 23u);
  if (rest < divisor) {
    rest <<= 1u;
    exponent -= 1;
  }
  var fraction = 0u;
  for (var i = 0u; i < 25u; i++) {
    fraction <<= 1u;
    if (rest >= divisor) {
      rest -= divisor;
      fraction |= 1u;
    }
    rest <<= 1u;
  }
  return number_of(exponent, fraction, rest != 0u);
}

// Of a positive normal number.
fn root_of(x: u32) -> u32 {
  let exponent = i32(x >> 23u) - 127;
  // Twice the number whose root is wanted, times a power of 4: 26 bits, and 24 zeros behind them.
  let radicand = ((x & 0x7fffffu) | 0x800000u) << (1u + u32(exponent & 1));
  var root = 0u;
  var rest = 0u;
  for (var i = 0u; i < 25u; i++) {
    var bits = 0u;
    if (i < 13u) { bits = (radicand >> (24u - 2u * i)) & 3u; }
    rest = (rest << 2u) | bits;
    let trial = (root << 2u) | 1u;
    root <<= 1u;
    if (rest >= trial) {
      rest -= trial;
      root |= 1u;
    }
  }
  return number_of((exponent - (exponent & 1)) / 2, root, rest != 0u);
}

// Whether bits are those of the square of a norm: no NaN, and neither negative nor infinite. A zero may have a sign.
fn is_measured(squared: u32) -> bool { return squared <= greatest_bits || squared == 0x80000000u; }

// Positive numbers are ordered as their bits are.
fn is_bound(max_norm: u32) -> bool { return max_norm >= bitcast<u32>(least_bound) && max_norm <= greatest_bits; }

fn norm_of(squared: u32) -> u32 {
  if ((squared & 0x7fffffffu) < smallest_bits) { return 0u; }
  return root_of(squared);
}

fn clip_factor(rule: u32, gamma: u32, squared: u32, max_norm: u32) -> u32 {
  if (!is_measured(squared) || !is_bound(max_norm)) { return 0u; }
  let norm = norm_of(squared);
  if (rule == 3u) {
    let limit = bitcast<u32>(times(bitcast<f32>(max_norm), margin));
    return select(0u, 0x3f800000u, norm <= limit);
  }
  var divisor = norm;
  if (rule == 0u) { divisor = bitcast<u32>(opaque(bitcast<f32>(norm) + 1e-6)); }
  if (rule == 1u) { divisor = bitcast<u32>(opaque(bitcast<f32>(norm) + bitcast<f32>(gamma))); }
  if (divisor == 0u) { return 0u; }
  let factor = bitcast<u32>(times(bitcast<f32>(quotient_of(max_norm, divisor)), margin));
  if (rule == 0u && factor > 0x3f800000u) { return 0x3f800000u; }
  return select(factor, 0u, factor < smallest_bits);
}
