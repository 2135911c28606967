// out[i] = alpha * x[i] + beta * out[i]; computed in f32 and rounded once.
#params n x_at out_at alpha beta
#include bits
@group(0) @binding(0) var<storage, ${READ}> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
#include load name=x dtype=${X}
#include words

fn element(i: u32) -> u32 {
  let sum = bitcast<f32>(p.alpha) * x_load(p.x_at + i) + bitcast<f32>(p.beta) * out_load(p.out_at + i);
  return out_narrow(sum);
}
