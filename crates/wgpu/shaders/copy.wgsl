// out[i] = x[i], bit for bit: the type only says how wide an element is.
#params n x_at out_at
#include bits
@group(0) @binding(0) var<storage, ${READ}> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
#include load name=x dtype=${OUT}
#include words

fn element(i: u32) -> u32 { return x_raw(p.x_at + i); }
