// A number as an element of `out`: to the nearest, or to one of two neighbours by the random bits of element i.
fn stored(x: f32, i: u32) -> u32 {
#if NOISE=1 OUT=bf16
  let bits = bitcast<u32>(x);
  if ((bits & 0x7f800000u) == 0x7f800000u) { return out_narrow(x); }
  return (bits + noise(i, half)) >> 16u;
#else
  return out_narrow(x);
#end
}
