// The entry of kernels that reduce: calls `work(group, t, subgroup size)` with the number of the workgroup.
@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
#if SUBGROUP=1
  @builtin(subgroup_size) subgroup: u32,
#end
) {
#if SUBGROUP=1
  work(group.x + group.y * groups.x, t, subgroup);
#else
  work(group.x + group.y * groups.x, t, 1u);
#end
}
