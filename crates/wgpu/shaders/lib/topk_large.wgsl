// The steps of top-k with many workgroups for each chunk. `state` has four words for each chunk: the chosen magnitude,
// the chosen inverted position, the rank among those that agree, and (in the end) how many were taken; the rank is 0
// when all of them are wanted. Entries of a chunk take p.sorted places, a power of two.
#params len chunk k sorted level first x_at x_len blocks block distance values_at indices_at
#include topk_order

#if STEP=start|histogram|pick|take
@group(0) @binding(0) var<storage, read_write> state: array<atomic<u32>>;
#end
#if STEP=start|histogram|pick
@group(0) @binding(1) var<storage, read_write> histogram: array<atomic<u32>>;
#end
#if STEP=histogram
@group(0) @binding(2) var<storage, ${READ}> x: array<u32>;
#end
#if STEP=take
@group(0) @binding(1) var<storage, ${READ}> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> bits_of: array<u32>;
@group(0) @binding(3) var<storage, read_write> place_of: array<u32>;
#end
#if STEP=sort_far|sort_near|clear
@group(0) @binding(0) var<storage, read_write> bits_of: array<u32>;
@group(0) @binding(1) var<storage, read_write> place_of: array<u32>;
#end
#if STEP=write
@group(0) @binding(0) var<storage, ${READ}> bits_of: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> place_of: array<u32>;
@group(0) @binding(2) var<storage, read_write> values: array<u32>;
@group(0) @binding(3) var<storage, read_write> indices: array<u32>;
#end

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group_id: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  work(group_id.x + group_id.y * groups.x, t);
}

#if STEP=start
// One workgroup for each chunk.
fn work(c: u32, t: u32) {
  if (c * p.chunk >= p.len) { return; }
  atomicStore(&histogram[256u * c + t], 0u);
  if (t < 4u) {
    let rank = min(p.k, min(p.chunk, p.len - c * p.chunk));
    atomicStore(&state[4u * c + t], select(0u, rank, t == 2u));
  }
}
#end

#if STEP=histogram|take
// Elements that a workgroup looks at.
const block_len = 4096u;
// p.blocks workgroups for each chunk; x shows p.x_len elements of a chunk (of every chunk, where there are several)
// from p.first on.
fn work(group: u32, t: u32) {
  let c = group / p.blocks;
  if (c * p.chunk >= p.len) { return; }
  let rank = atomicLoad(&state[4u * c + 2u]);
#if STEP=histogram
  if (rank == 0u) { return; }
  zero(t);
#end
  let chosen = vec2(atomicLoad(&state[4u * c]), atomicLoad(&state[4u * c + 1u]));
  let base = p.x_at + c * p.chunk;
  let last = min(min(p.chunk, p.len - c * p.chunk), p.first + p.x_len);
  let begin = p.first + (group % p.blocks) * block_len + t;
  for (var step = 0u; step < block_len; step += 256u) {
    let i = begin + step;
    // The first where the last positions of 2^32 wrap around.
    if (i >= begin && i < last) { visit(c, x[base + i - p.first], i, chosen); }
  }
#if STEP=histogram
  flush(c, t);
#end
}
#end

#if STEP=histogram
var<workgroup> counts: array<atomic<u32>, 256>;
fn zero(t: u32) {
  atomicStore(&counts[t], 0u);
  workgroupBarrier();
}
fn visit(c: u32, bits: u32, i: u32, chosen: vec2<u32>) {
  if (agrees(p.level, bits, i, chosen)) { atomicAdd(&counts[digit(p.level, bits, i)], 1u); }
}
fn flush(c: u32, t: u32) {
  workgroupBarrier();
  let count = atomicLoad(&counts[t]);
  if (count > 0u) { atomicAdd(&histogram[256u * c + t], count); }
}
#end

#if STEP=pick
#include topk_pick
// One workgroup for each chunk.
fn work(c: u32, t: u32) {
  if (c * p.chunk >= p.len) { return; }
  let rank = atomicLoad(&state[4u * c + 2u]);
  let found = pick(t, atomicLoad(&histogram[256u * c + t]), max(rank, 1u));
  atomicStore(&histogram[256u * c + t], 0u);
  if (t == 0u && rank > 0u) {
    let place = 4u * c + (p.level >> 2u);
    atomicStore(&state[place], atomicLoad(&state[place]) | (found.x << digit_shift(p.level)));
    let all = p.level == 3u && found.y == found.z;
    atomicStore(&state[4u * c + 2u], select(found.z, 0u, all));
  }
}
#end

#if STEP=clear
fn work(group: u32, t: u32) {
  let i = group * 256u + t;
  if (i < p.len) {
    bits_of[i] = no_entry.x;
    place_of[i] = no_entry.y;
  }
}
#end

#if STEP=take
fn visit(c: u32, bits: u32, i: u32, chosen: vec2<u32>) {
  if (selected(bits, i, chosen)) {
    let at = c * p.sorted + atomicAdd(&state[4u * c + 3u], 1u);
    bits_of[at] = bits;
    place_of[at] = i;
  }
}
#end

#if STEP=sort_far|sort_near
fn exchange(i: u32, distance: u32, block: u32) {
  let a = vec2(bits_of[i], place_of[i]);
  let b = vec2(bits_of[i + distance], place_of[i + distance]);
  // Chunks are sorted side by side, all in the same direction.
  if (comes_before(b, a) == ((i & block & (p.sorted - 1u)) == 0u)) {
    bits_of[i] = b.x;
    place_of[i] = b.y;
    bits_of[i + distance] = a.x;
    place_of[i + distance] = a.y;
  }
}
#end

#if STEP=sort_far
// One step of the bitonic sort, of partners far from each other.
fn work(group: u32, t: u32) {
  let pair = group * 256u + t;
  let i = 2u * pair - (pair & (p.distance - 1u));
  if (i + p.distance < p.len) { exchange(i, p.distance, p.block); }
}
#end

#if STEP=sort_near
// All steps among 512 neighbours, of the blocks from p.block up to p.distance.
fn work(group: u32, t: u32) {
  let valid = group * 512u < p.len;
  for (var block = p.block; block <= p.distance; block <<= 1u) {
    for (var distance = min(block >> 1u, 256u); distance > 0u; distance >>= 1u) {
      let i = group * 512u + 2u * t - (t & (distance - 1u));
      if (valid) { exchange(i, distance, block); }
      storageBarrier();
      workgroupBarrier();
    }
  }
}
#end

#if STEP=write
fn work(group: u32, t: u32) {
  let i = group * 256u + t;
  if (i >= p.len) { return; }
  let place = (i / p.k) * p.sorted + i % p.k + p.first;
  values[p.values_at + i] = bits_of[place];
  indices[p.indices_at + i] = place_of[place];
}
#end
