// Two normal numbers of 128 random bits, as `normal_pair` of the core's `rng` module defines them: the same bits. Needs
// `pair`; every product that is added to something is rounded by itself.

// (high 2^32 + low + halves / 2) 2^-64. Each part has at most 24 bits, and its product with a power of two is exact.
fn fraction(high: u32, low: u32, halves: u32) -> f32 {
  let first = f32(high >> 8u) * 0x1p-24f;
  let second = f32(((high & 0xffu) << 16u) | (low >> 16u)) * 0x1p-48f;
  let third = f32(((low & 0xffffu) << 1u) | halves) * 0x1p-65f;
  return opaque(opaque(first) + opaque(opaque(second) + opaque(third)));
}

fn newton(half: f32, y: f32) -> f32 { return times(y, opaque(1.5 - times(times(half, y), y))); }

fn root_near(x: f32) -> f32 {
  let half = times(0.5, x);
  var y = bitcast<f32>(0x5f3759dfu - (bitcast<u32>(x) >> 1u));
  y = newton(half, y);
  y = newton(half, y);
  y = newton(half, y);
  return times(x, y);
}

fn horner(q: f32, x: f32, c: f32) -> f32 { return opaque(times(q, x) + c); }

fn radius(high: u32, low: u32) -> f32 {
  let bits = bitcast<u32>(fraction(high, low, 1u));
  let near_one = bits >= 0x3f3504f3u;
  let shifted = bits + (0x3f800000u - 0x3f3504f3u);
  let m = bitcast<f32>((shifted & 0x007fffffu) + 0x3f3504f3u);
  let f = select(opaque(m - 1.0), -fraction(~high, ~low, 1u), near_one);
  let n = select(f32(127 - i32(shifted >> 23u)), 0.0, near_one);
  var q = 7.0376836e-2;
  q = horner(q, f, -1.15146103e-1);
  q = horner(q, f, 1.1676999e-1);
  q = horner(q, f, -1.2420141e-1);
  q = horner(q, f, 1.4249323e-1);
  q = horner(q, f, -1.6668057e-1);
  q = horner(q, f, 2.0000715e-1);
  q = horner(q, f, -2.4999994e-1);
  q = horner(q, f, 3.3333331e-1);
  let square = times(f, f);
  let tail = opaque(times(times(q, f), square) - times(0.5, square));
  let rest = opaque(f + opaque(tail - times(n, -2.1219444e-4)));
  return root_near(times(2.0, opaque(times(n, 0.6933594) - rest)));
}

fn normal_pair(w: vec4<u32>) -> vec2<f32> {
  let octant = w.z >> 29u;
  let flip = 0u - (octant & 1u);
  let high = w.z ^ flip;
  let low = w.w ^ flip;
  let x = times(fraction((high << 3u) | (low >> 29u), (low << 3u) | 4u, 0u), 0.785398185);
  let z = times(x, x);
  var s = -1.9515296e-4;
  s = horner(s, z, 8.332161e-3);
  s = horner(s, z, -1.6666655e-1);
  s = opaque(times(times(s, z), x) + x);
  var c = 2.4433157e-5;
  c = horner(c, z, -1.3887316e-3);
  c = horner(c, z, 4.1666646e-2);
  c = opaque(opaque(times(times(c, z), z) - times(0.5, z)) + 1.0);
  let swap = ((octant + 1u) & 2u) != 0u;
  let minus_sine = (octant >> 2u) << 31u;
  let minus_cosine = (((octant + 2u) >> 2u) & 1u) << 31u;
  let sine = bitcast<f32>(bitcast<u32>(select(s, c, swap)) ^ minus_sine);
  let cosine = bitcast<f32>(bitcast<u32>(select(c, s, swap)) ^ minus_cosine);
  let r = radius(w.x, w.y);
  return vec2(times(r, cosine), times(r, sine));
}
