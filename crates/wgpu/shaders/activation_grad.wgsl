// out = dy * f'(x).
#params n x_at dy_at out_at
#include bits
#include math
#include activations
@group(0) @binding(0) var<storage, ${READ}> x: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> dy: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
#include load name=x dtype=${OUT}
#include load name=dy dtype=${OUT}
#include words

fn element(i: u32) -> u32 {
  return out_narrow(dy_load(p.dy_at + i) * ${KIND}_grad(x_load(p.x_at + i)));
}
