// out[i] = alpha * x[i], both of one type.
#params n x_at out_at alpha
#include bits
@group(0) @binding(0) var<storage, ${READ}> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
#include load name=x dtype=${OUT}
#include words

fn element(i: u32) -> u32 { return out_narrow(bitcast<f32>(p.alpha) * x_load(p.x_at + i)); }
