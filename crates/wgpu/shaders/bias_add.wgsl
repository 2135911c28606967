// out[r, j] = out[r, j] + bias[j]. Elements are numbered from the first of the dispatch, which lies in column p.column0
// of the bias.
#params n out_at bias_at column0 columns
#include bits
@group(0) @binding(0) var<storage, read_write> out: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> bias: array<u32>;
#include words

fn element(i: u32) -> u32 {
  return out_narrow(out_load(p.out_at + i) + bitcast<f32>(bias[p.bias_at + (p.column0 + i) % p.columns]));
}
