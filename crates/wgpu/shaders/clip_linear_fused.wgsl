// STAGE says what a dispatch does:
//   factors  norms, which are squares before, and factors of some samples;
//   add      grad += factor of a sample times its gradient, which adds nothing if the factor is 0.
#if STAGE=factors
#params samples norms_at factors_at weights_at max_norm rule gamma
@group(0) @binding(0) var<storage, read_write> norms: array<u32>;
@group(0) @binding(1) var<storage, read_write> factors: array<u32>;
#if WEIGHTS=1
@group(0) @binding(2) var<storage, ${READ}> weights: array<u32>;
#end

#include pair
#include clip

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let sample = (group.x + group.y * groups.x) * 256u + t;
  if (sample >= p.samples) { return; }
  let squared = norms[p.norms_at + sample];
  // What is no finite number stays what it is.
  var norm = squared;
  if (is_measured(squared)) { norm = norm_of(squared); }
  var factor = clip_factor(p.rule, p.gamma, squared, p.max_norm);
#if WEIGHTS=1
  if ((weights[p.weights_at + sample] & 0x7fffffffu) == 0u) {
    norm = 0u;
    factor = 0u;
  }
#end
  norms[p.norms_at + sample] = norm;
  factors[p.factors_at + sample] = factor;
}
#else
#params len x_at out_at factor_at
@group(0) @binding(0) var<storage, ${READ}> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<storage, ${READ}> factors: array<u32>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let i = (group.x + group.y * groups.x) * 256u + t;
  let factor = factors[p.factor_at];
  if (i < p.len && (factor & 0x7fffffffu) != 0u) { out[p.out_at + i] += bitcast<f32>(factor) * x[p.x_at + i]; }
}
#end
