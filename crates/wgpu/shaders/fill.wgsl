// out[i] = value, which comes as the bits of an element.
#params n out_at value
#include bits
@group(0) @binding(0) var<storage, read_write> out: array<u32>;
#include words

fn element(i: u32) -> u32 { return p.value; }
