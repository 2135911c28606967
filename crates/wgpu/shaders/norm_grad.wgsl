// The gradient of `norm` at its rows, in two stages: stats leaves what a row has in common, a workgroup a row, and its inner
// product; apply makes elements of them.
#if STAGE=stats
#params columns rows x_at dy_at weight_at dots_at eps
#include bits
@group(0) @binding(0) var<storage, ${READ}> x: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> dy: array<u32>;
@group(0) @binding(2) var<storage, read_write> stats: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dots: array<f32>;
#if WEIGHT=1
@group(0) @binding(4) var<storage, ${READ}> weight: array<f32>;
#end
#include load name=x dtype=${X}
#include load name=dy dtype=${X}
#include total
#include moments

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let row = group.x + group.y * groups.x;
  // The last workgroups may be beyond; reads stay inside of the bindings, and nothing is written.
  let begin_x = p.x_at + row * p.columns;
  let begin_dy = p.dy_at + row * p.columns;
  let n = f32(p.columns);
  let m = moments(t, begin_x);
  let mean = m.x;
  let scale = m.y;
  var along = 0.0;
  var shift = 0.0;
  var dot = 0.0;
  for (var j = t; j < p.columns; j += 256u) {
    let z = (x_load(begin_x + j) - mean) * scale;
    let given = dy_load(begin_dy + j);
    var g = given;
#if WEIGHT=1
    g *= weight[p.weight_at + j];
#end
    along += g * z;
    shift += g;
    dot += given * z;
  }
  along = total(t, along) / n;
  dot = total(t, dot);
#if KIND=layer
  shift = total(t, shift) / n;
#else
  shift = 0.0;
#end
  if (t == 0u && row < p.rows) {
    stats[row] = vec4(mean, scale, along, shift);
    dots[p.dots_at + row] = dot;
  }
}
#end
#if STAGE=apply
#params n columns x_at dy_at out_at weight_at
#include bits
@group(0) @binding(0) var<storage, ${READ}> x: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> dy: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
@group(0) @binding(3) var<storage, ${READ}> stats: array<vec4<f32>>;
#if WEIGHT=1
@group(0) @binding(4) var<storage, ${READ}> weight: array<f32>;
#end
#include load name=x dtype=${OUT}
#include load name=dy dtype=${OUT}
#include words

fn element(i: u32) -> u32 {
  let row = i / p.columns;
  let s = stats[row];
  let z = (x_load(p.x_at + i) - s.x) * s.y;
  var g = dy_load(p.dy_at + i);
#if WEIGHT=1
  g *= weight[p.weight_at + i - row * p.columns];
#end
  return out_narrow(s.y * (g - s.w - z * s.z));
}
#end
