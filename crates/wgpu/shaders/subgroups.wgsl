// out[i] = 1 where subgroups are what the subgroup variants take them for: consecutive invocations of the workgroup.
#params
@group(0) @binding(0) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
  @builtin(subgroup_id) id: u32,
  @builtin(subgroup_size) size: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let full = subgroupAdd(1u) == size && 256u % size == 0u;
  out[group.x * 256u + t] = select(0u, 1u, full && id * size + lane == t && (size & (size - 1u)) == 0u);
}
