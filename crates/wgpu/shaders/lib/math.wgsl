// exp, ln, tanh, sine and cosine to about one unit in the last place, from additions and multiplications alone: what
// WGSL itself promises is too coarse (ln of a number near 1 to 2^-21, sine to 2^-11). Reductions and polynomials are
// those of Moshier's Cephes library (single precision).

const lowest = -3.40282346638528859812e38;

fn exp_f32(x: f32) -> f32 {
  let y = clamp(x, -87.0, 88.0);
  let n = floor(y * 1.44269504088896341 + 0.5);
  let r = (y - n * 0.693359375) + n * 2.12194440e-4;
  var q = 1.9875691500e-4;
  q = q * r + 1.3981999507e-3;
  q = q * r + 8.3334519073e-3;
  q = q * r + 4.1665795894e-2;
  q = q * r + 1.6666665459e-1;
  q = q * r + 5.0000001201e-1;
  let e = (q * r * r + r) + 1.0;
  // Below -87 the result is subnormal, as good as 0.
  return select(e * bitcast<f32>(u32(i32(n) + 127) << 23u), 0.0, x < -87.0);
}

fn exp_vec4(x: vec4<f32>) -> vec4<f32> {
  let y = clamp(x, vec4(-87.0), vec4(88.0));
  let n = floor(y * 1.44269504088896341 + 0.5);
  let r = (y - n * 0.693359375) + n * 2.12194440e-4;
  var q = vec4(1.9875691500e-4);
  q = q * r + 1.3981999507e-3;
  q = q * r + 8.3334519073e-3;
  q = q * r + 4.1665795894e-2;
  q = q * r + 1.6666665459e-1;
  q = q * r + 5.0000001201e-1;
  let e = (q * r * r + r) + 1.0;
  return select(e * bitcast<vec4<f32>>(vec4<u32>(vec4<i32>(n) + 127) << vec4(23u)), vec4(0.0), x < vec4(-87.0));
}

// Of a positive normal number.
fn ln_f32(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  var exponent = i32(bits >> 23u) - 126;
  var m = bitcast<f32>((bits & 0x7fffffu) | 0x3f000000u);
  if (m < 0.707106781186547524) {
    exponent -= 1;
    m = (m - 0.5) + (m - 0.5);
  } else {
    m = m - 1.0;
  }
  let e = f32(exponent);
  let z = m * m;
  var q = 7.0376836292e-2;
  q = q * m - 1.1514610310e-1;
  q = q * m + 1.1676998740e-1;
  q = q * m - 1.2420140846e-1;
  q = q * m + 1.4249322787e-1;
  q = q * m - 1.6668057665e-1;
  q = q * m + 2.0000714765e-1;
  q = q * m - 2.4999993993e-1;
  q = q * m + 3.3333331174e-1;
  let tail = (q * m * z - e * 2.12194440e-4) - 0.5 * z;
  return (m + tail) + e * 0.693359375;
}

fn tanh_f32(x: f32) -> f32 {
  let a = abs(x);
  if (a > 0.625) {
    let t = 1.0 - 2.0 / (exp_f32(2.0 * min(a, 20.0)) + 1.0);
    return select(t, -t, x < 0.0);
  }
  let z = x * x;
  var q = -5.70498872745e-3;
  q = q * z + 2.06390887954e-2;
  q = q * z - 5.37397155531e-2;
  q = q * z + 1.33314422036e-1;
  q = q * z - 3.33332819422e-1;
  return q * z * x + x;
}

// Cosine and sine of 2 pi u, for u in [0, 1].
fn turn(u: f32) -> vec2<f32> {
  // To the nearest quarter and the rest, exactly.
  let quarter = floor(4.0 * u + 0.5);
  let r = (4.0 * u - quarter) * 1.57079632679489662;
  let z = r * r;
  let s = ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1) * z * r + r;
  let c = ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2) * z * z + (1.0 - 0.5 * z);
  switch (u32(quarter) & 3u) {
    case 0u: { return vec2(c, s); }
    case 1u: { return vec2(-s, c); }
    case 2u: { return vec2(-c, -s); }
    default: { return vec2(s, -c); }
  }
}
