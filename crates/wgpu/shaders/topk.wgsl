// The k entries of greatest magnitude of each chunk, sorted. STEP=chunk does it all in one workgroup for each chunk, for
// k up to 1,024; larger ones go through the steps of `topk_large`. Both select by radix, with histograms of integers, so
// that nothing is approximate, and sort what was selected.
#if STEP=chunk
#params len chunk k sorted x_at values_at indices_at
@group(0) @binding(0) var<storage, ${READ}> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> values: array<u32>;
@group(0) @binding(2) var<storage, read_write> indices: array<u32>;
#include topk_order
#include topk_pick

var<workgroup> histogram: array<atomic<u32>, 256>;
var<workgroup> entries: array<vec2<u32>, 1024>;
var<workgroup> taken: atomic<u32>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group_id: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let group = group_id.x + group_id.y * groups.x;
  let first = group * p.chunk;
  if (first >= p.len) { return; }
  let len = min(p.chunk, p.len - first);
  let base = p.x_at + first;

  var rank = min(p.k, len);
  var chosen = vec2(0u);
  for (var level = 0u; level < 8u; level++) {
    atomicStore(&histogram[t], 0u);
    workgroupBarrier();
    for (var i = t; i < len; i += 256u) {
      let bits = x[base + i];
      if (agrees(level, bits, i, chosen)) { atomicAdd(&histogram[digit(level, bits, i)], 1u); }
    }
    workgroupBarrier();
    let found = pick(t, atomicLoad(&histogram[t]), rank);
    if (level < 4u) { chosen.x |= found.x << digit_shift(level); } else { chosen.y |= found.x << digit_shift(level); }
    rank = found.z;
    // All elements of the smallest magnitude are wanted: their positions do not matter.
    if (level == 3u && found.y == rank) { break; }
  }

  for (var i = t; i < p.sorted; i += 256u) { entries[i] = no_entry; }
  if (t == 0u) { atomicStore(&taken, 0u); }
  workgroupBarrier();
  for (var i = t; i < len; i += 256u) {
    let bits = x[base + i];
    if (selected(bits, i, chosen)) { entries[atomicAdd(&taken, 1u)] = vec2(bits, i); }
  }
  workgroupBarrier();

  // Bitonic; the order in which they were taken is gone after it.
  for (var block = 2u; block <= p.sorted; block <<= 1u) {
    for (var distance = block >> 1u; distance > 0u; distance >>= 1u) {
      for (var pair = t; pair < p.sorted / 2u; pair += 256u) {
        let i = 2u * pair - (pair & (distance - 1u));
        let a = entries[i];
        let b = entries[i + distance];
        if (comes_before(b, a) == ((i & block) == 0u)) {
          entries[i] = b;
          entries[i + distance] = a;
        }
      }
      workgroupBarrier();
    }
  }
  for (var i = t; i < p.k; i += 256u) {
    values[p.values_at + group * p.k + i] = entries[i].x;
    indices[p.indices_at + group * p.k + i] = entries[i].y;
  }
}
#else
#include topk_large
#end
