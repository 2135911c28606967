// One element at a time of the binding ${name}, an array<u32> of elements of type ${dtype}.
#include element name=${name} dtype=${dtype}
fn ${name}_raw(i: u32) -> u32 {
  return ${name}_bits(${name}[i >> ${name}_shift], i & (${name}_per - 1u));
}
#if dtype=f32|bf16|f16
fn ${name}_load(i: u32) -> f32 { return ${name}_number(${name}_raw(i)); }
#end
