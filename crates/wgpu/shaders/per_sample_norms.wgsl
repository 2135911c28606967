// The square of the norm of a sample's gradient, which `clipped_grad` has made. STAGE says what a dispatch does:
//   squares  the sum of the squares of 8192 elements for each workgroup;
//   total    the sum of these sums, of one sample.
// With FLAGS, nothing of a sample whose flag is 0.
#if STAGE=squares
#params len x_at partials_at flag
#else
#params len partials_at out_at flag
#end
@group(0) @binding(0) var<storage, ${READ}> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
#if FLAGS=1
@group(0) @binding(2) var<storage, ${READ}> flags: array<u32>;
var<workgroup> shared_flag: u32;
#end

var<workgroup> sums: array<f32, 256>;

fn sum_of_all(t: u32, own: f32) -> f32 {
  sums[t] = own;
  workgroupBarrier();
  for (var half = 128u; half > 0u; half >>= 1u) {
    if (t < half) { sums[t] += sums[t + half]; }
    workgroupBarrier();
  }
  return sums[0];
}

#if STAGE=squares
const each = 32u;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
#if FLAGS=1
  if (t == 0u) { shared_flag = flags[p.flag]; }
  if (workgroupUniformLoad(&shared_flag) == 0u) { return; }
#end
  let number = group.x + group.y * groups.x;
  var own = 0.0;
  for (var i = 0u; i < each; i++) {
    let at = (number * each + i) * 256u + t;
    if (at < p.len) { own += x[p.x_at + at] * x[p.x_at + at]; }
  }
  let sum = sum_of_all(t, own);
  // The last workgroups of a grid may have nothing.
  if (t == 0u && number * each * 256u < p.len) { out[p.partials_at + number] = sum; }
}
#else
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) t: u32) {
#if FLAGS=1
  if (t == 0u) { shared_flag = flags[p.flag]; }
  if (workgroupUniformLoad(&shared_flag) == 0u) { return; }
#end
  var own = 0.0;
  for (var i = t; i < p.len; i += 256u) { own += x[p.partials_at + i]; }
  let sum = sum_of_all(t, own);
  if (t == 0u) { out[p.out_at] = sum; }
}
#end
