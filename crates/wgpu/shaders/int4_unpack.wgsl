// The numbers that codes of 4 bits stand for, in groups of 256.
#params n out_at codes_at scales_at zeros_at
#include bits
@group(0) @binding(0) var<storage, read_write> out: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> codes: array<u32>;
@group(0) @binding(2) var<storage, ${READ}> scales: array<u32>;
@group(0) @binding(3) var<storage, ${READ}> zeros: array<u32>;
#include words

fn element(i: u32) -> u32 {
  let scale = scales[p.scales_at + (i >> 8u)];
  let exponent = scale & 0x7f800000u;
  if (exponent == 0x7f800000u) { return 0x7fc00000u; }
  let zero = zeros[p.zeros_at + (i >> 8u)] & 15u;
  let code = (codes[p.codes_at + (i >> 3u)] >> (4u * (i & 7u))) & 15u;
  // A scale below the normal numbers is 0, without its sign.
  let factor = bitcast<f32>(select(scale, 0u, exponent == 0u));
  return bitcast<u32>(f32(i32(code) - i32(zero)) * factor);
}
