// The Walsh-Hadamard transform of blocks that lie one behind the other; a workgroup has 4096 elements, whole blocks, which
// wait between the steps in its own memory.
#params n block factor x_at out_at
#include bits
@group(0) @binding(0) var<storage, ${READ}> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
#include load name=x dtype=${X}

var<workgroup> sums: array<f32, 4096>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let first = (group.x + group.y * groups.x) * 4096u;
  for (var i = t; i < 4096u; i += 256u) {
    var value = 0.0;
    if (first + i < p.n) { value = x_load(p.x_at + first + i); }
    sums[i] = value;
  }
  for (var half = 1u; half < p.block; half <<= 1u) {
    workgroupBarrier();
    for (var i = t; i < 2048u; i += 256u) {
      let low = 2u * i - (i & (half - 1u));
      let a = sums[low];
      let b = sums[low + half];
      sums[low] = a + b;
      sums[low + half] = a - b;
    }
  }
  workgroupBarrier();
  for (var i = t; i < 4096u; i += 256u) {
    if (first + i < p.n) { out[p.out_at + first + i] = sums[i] * bitcast<f32>(p.factor); }
  }
}
