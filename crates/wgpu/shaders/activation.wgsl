// out[r, j] = f(x[r, j] + bias[j]) * times[r, j]. Elements are numbered from the first of the dispatch, which lies in
// column p.column0 of the bias.
#params n x_at out_at bias_at times_at column0 columns
#include bits
#include math
#include activations
@group(0) @binding(0) var<storage, ${READ}> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
#if BIAS=1
@group(0) @binding(2) var<storage, ${READ}> bias: array<u32>;
#end
#if TIMES=1 BIAS=1
@group(0) @binding(3) var<storage, ${READ}> times: array<u32>;
#end
#if TIMES=1 BIAS=0
@group(0) @binding(2) var<storage, ${READ}> times: array<u32>;
#end
#include load name=x dtype=${OUT}
#if TIMES=1
#include load name=times dtype=${OUT}
#end
#include words

fn element(i: u32) -> u32 {
  var z = x_load(p.x_at + i);
#if BIAS=1
  z += bitcast<f32>(bias[p.bias_at + (p.column0 + i) % p.columns]);
#end
  z = ${KIND}(z);
#if TIMES=1
  z *= times_load(p.times_at + i);
#end
  return out_narrow(z);
}
