// Rows brought to a common scale, in two stages: stats leaves mean and scale of each row, a workgroup a row;
// apply makes elements of them.
#if STAGE=stats
#params columns rows x_at eps
#include bits
@group(0) @binding(0) var<storage, ${READ}> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> stats: array<vec2<f32>>;
#include load name=x dtype=${X}
#include total
#include moments

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let row = group.x + group.y * groups.x;
  // The last workgroups may be beyond; reads stay inside of the binding, and nothing is written.
  let begin = p.x_at + row * p.columns;
  let m = moments(t, begin);
  if (t == 0u && row < p.rows) { stats[row] = m; }
}
#end
#if STAGE=apply
#params n columns x_at out_at weight_at bias_at
#include bits
@group(0) @binding(0) var<storage, ${READ}> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
@group(0) @binding(2) var<storage, ${READ}> stats: array<vec2<f32>>;
#if WEIGHT=1
@group(0) @binding(3) var<storage, ${READ}> weight: array<u32>;
#end
#if BIAS=1 WEIGHT=1
@group(0) @binding(4) var<storage, ${READ}> bias: array<u32>;
#end
#if BIAS=1 WEIGHT=0
@group(0) @binding(3) var<storage, ${READ}> bias: array<u32>;
#end
#include load name=x dtype=${X}
#include words

fn element(i: u32) -> u32 {
  let row = i / p.columns;
  let column = i - row * p.columns;
  var z = (x_load(p.x_at + i) - stats[row].x) * stats[row].y;
#if WEIGHT=1
  z *= bitcast<f32>(weight[p.weight_at + column]);
#end
#if BIAS=1
  z += bitcast<f32>(bias[p.bias_at + column]);
#end
  return out_narrow(z);
}
#end
