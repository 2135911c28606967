// out[i] = x[i] as a number of another type; all of it on integers, so that nothing depends on the device.
#params n x_at out_at
#include bits
@group(0) @binding(0) var<storage, ${READ}> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
#include load name=x dtype=${X}
#include words

fn element(i: u32) -> u32 {
  let raw = x_raw(p.x_at + i);
#if X=u8|u32
  let negative = false;
  let magnitude = raw;
#end
#if X=i32
  let negative = (raw >> 31u) == 1u;
  let magnitude = select(raw, 0u - raw, negative);
#end
#if X=f32|bf16|f16
#if X=f32
  let bits = raw;
#end
#if X=bf16
  let bits = raw << 16u;
#end
#if X=f16
  let bits = widen_f16(raw);
#end
  let negative = (bits >> 31u) == 1u;
  let magnitude = magnitude_of(bits);
#else
#if OUT=f32
  let bits = f32_of(negative, magnitude, false);
#else
  let bits = f32_of(negative, magnitude, true);
#end
#end
#if OUT=f32
  return bits;
#end
#if OUT=bf16
  return narrow_bf16(bits);
#end
#if OUT=f16
  return narrow_f16(bits);
#end
#if OUT=u8
  return select(min(magnitude, 255u), 0u, negative);
#end
#if OUT=u32
  return select(magnitude, 0u, negative);
#end
#if OUT=i32
  return select(min(magnitude, 0x7fffffffu), 0u - min(magnitude, 0x80000000u), negative);
#end
}
