// Column sums of samples, an invocation for each sample and column (STAGE=sums). Where a window does not show all rows,
// sums come back from dispatch to dispatch: the first begins them, the last writes them out.
#params samples sample0 count n rows row0 shown offsets_at a_at b_at out_at first last slot
@group(0) @binding(0) var<storage, ${READ}> offsets: array<u32>;
#if STAGE=check
@group(0) @binding(1) var<storage, read_write> faults: array<atomic<u32>>;
#include offsets

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let sample = (group.x + group.y * groups.x) * 256u + t;
  if (sample >= p.samples) { return; }
  check_segment(sample, sample);
}
#else
@group(0) @binding(1) var<storage, ${READ}> a: array<u32>;
@group(0) @binding(2) var<storage, read_write> sums: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
#if BOTH=1
@group(0) @binding(4) var<storage, ${READ}> b: array<u32>;
#end
#include bits
#include pair
#include load name=a dtype=${X}
#if BOTH=1
#include load name=b dtype=${X}
#end

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let i = (group.x + group.y * groups.x) * 256u + t;
  if (i >= p.count * p.n) { return; }
  let sample = p.sample0 + i / p.n;
  let column = i % p.n;
  // Whatever the offsets are, within what is shown.
  let begin = max(offsets[p.offsets_at + sample], p.row0);
  let end = min(offsets[p.offsets_at + sample + 1u], p.row0 + p.shown);
  var sum = vec2(0.0);
  if (p.first == 0u) { sum = sums[i]; }
  for (var row = begin; row < end; row++) {
    let at = (row - p.row0) * p.n + column;
#if BOTH=1
    sum = add_to(sum, times(a_load(p.a_at + at), b_load(p.b_at + at)));
#else
    sum = add_to(sum, a_load(p.a_at + at));
#end
  }
  if (p.last == 1u) { out[p.out_at + i] = value_of(sum); } else { sums[i] = sum; }
}
#end
