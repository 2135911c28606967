// Elements of type ${dtype} in 32-bit words, under the name ${name}; needs `bits`.
#if dtype=f32|u32|i32
const ${name}_shift = 0u;
#end
#if dtype=bf16|f16
const ${name}_shift = 1u;
#end
#if dtype=u8
const ${name}_shift = 2u;
#end
const ${name}_per = 1u << ${name}_shift;
const ${name}_width = 32u >> ${name}_shift;
const ${name}_mask = 0xffffffffu >> (32u - ${name}_width);

// The bits of the element in this lane of a word.
fn ${name}_bits(word: u32, lane: u32) -> u32 {
  return (word >> (lane * ${name}_width)) & ${name}_mask;
}
#if dtype=f32
fn ${name}_number(bits: u32) -> f32 { return bitcast<f32>(bits); }
fn ${name}_narrow(x: f32) -> u32 { return bitcast<u32>(x); }
#end
#if dtype=bf16
fn ${name}_number(bits: u32) -> f32 { return bitcast<f32>(bits << 16u); }
fn ${name}_narrow(x: f32) -> u32 { return narrow_bf16(bitcast<u32>(x)); }
#end
#if dtype=f16
fn ${name}_number(bits: u32) -> f32 { return bitcast<f32>(widen_f16(bits)); }
fn ${name}_narrow(x: f32) -> u32 { return narrow_f16(bitcast<u32>(x)); }
#end
