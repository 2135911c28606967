// Factors that clip, an invocation for each sample (STAGE=factors); then how many samples took part, a workgroup for each
// group (STAGE=counts). A state of a sample is 0 for padding, 1 where it takes part, 2 where it is left out.
#params groups samples squared_at weights_at bounds_at factors_at counts_at rule gamma slot
@group(0) @binding(0) var<storage, ${READ}> squared: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> bounds: array<u32>;
@group(0) @binding(2) var<storage, read_write> states: array<u32>;
@group(0) @binding(3) var<storage, read_write> faults: array<atomic<u32>>;
@group(0) @binding(4) var<storage, read_write> out: array<u32>;
#if WEIGHTS=1
@group(0) @binding(5) var<storage, ${READ}> weights: array<u32>;
#end
#include pair
#include clip

#if STAGE=factors
@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let sample = (group.x + group.y * groups.x) * 256u + t;
  if (sample >= p.samples) { return; }
  var state = 1u;
#if WEIGHTS=1
  let weight = weights[p.weights_at + sample];
  if (weight != 0x3f800000u) { state = 0u; }
  if (weight != 0x3f800000u && weight != 0u && weight != 0x80000000u) { atomicMax(&faults[p.slot], ~sample); }
#end
  for (var g = 0u; g < p.groups; g++) {
    if (state == 1u && !is_measured(squared[p.squared_at + g * p.samples + sample])) { state = 2u; }
  }
  states[sample] = state;
  for (var g = 0u; g < p.groups; g++) {
    let at = g * p.samples + sample;
    var factor = 0u;
    if (state == 1u) { factor = clip_factor(p.rule, p.gamma, squared[p.squared_at + at], bounds[p.bounds_at + g]); }
    out[p.factors_at + at] = factor;
  }
}
#else
var<workgroup> parts: array<vec3<u32>, 256>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let g = group.x + group.y * groups.x;
  var counts = vec3(0u);
  let bound = bounds[p.bounds_at + min(g, p.groups - 1u)];
  if (g < p.groups) {
    if (t == 0u && !is_bound(bound)) { atomicMax(&faults[p.slot], ~(p.samples + g)); }
    for (var sample = t; sample < p.samples; sample += 256u) {
      let state = states[sample];
      let within = state == 1u && norm_of(squared[p.squared_at + g * p.samples + sample]) <= bound;
      counts += vec3(select(0u, 1u, state == 1u), select(0u, 1u, state == 2u), select(0u, 1u, within));
    }
  }
  parts[t] = counts;
  workgroupBarrier();
  for (var half = 128u; half > 0u; half >>= 1u) {
    if (t < half) { parts[t] += parts[t + half]; }
    workgroupBarrier();
  }
  if (t == 0u && g < p.groups) {
    for (var i = 0u; i < 3u; i++) { out[p.counts_at + 3u * g + i] = parts[0][i]; }
  }
}
#end
