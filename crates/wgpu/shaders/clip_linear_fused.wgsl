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

// Twice the margin of the definition, 1 - 2^-19: WGSL lets a square root and a division be off by a few units in the last
// place.
const margin = 0.9999980926513671875;

fn factor_of(norm: f32) -> f32 {
  let bound = bitcast<f32>(p.max_norm);
  if (p.rule == 3u) { return select(0.0, 1.0, norm <= bound * margin); }
  if (p.rule == 2u && norm == 0.0) { return 0.0; }
  let beside = select(select(0.0, bitcast<f32>(p.gamma), p.rule == 1u), 1e-6, p.rule == 0u);
  let factor = min(bound / (norm + beside), 3.40282346638528859812e38) * margin;
  if (p.rule == 0u && factor > 1.0) { return 1.0; }
  return select(factor, 0.0, factor < 1.17549435082228750797e-38);
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let sample = (group.x + group.y * groups.x) * 256u + t;
  if (sample >= p.samples) { return; }
  let squared = norms[p.norms_at + sample];
  var norm = squared;
  var factor = 0.0;
  // What is no finite number has no factor, and stays what it is.
  if (squared < 0x7f800000u) {
    // Below the normal numbers it counts as 0.
    norm = 0u;
    if (squared >= 0x00800000u) { norm = bitcast<u32>(sqrt(bitcast<f32>(squared))); }
    factor = factor_of(bitcast<f32>(norm));
  }
#if WEIGHTS=1
  if ((weights[p.weights_at + sample] & 0x7fffffffu) == 0u) {
    norm = 0u;
    factor = 0.0;
  }
#end
  norms[p.norms_at + sample] = norm;
  factors[p.factors_at + sample] = bitcast<u32>(factor);
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
