// Squared norms of the gradients that samples give a table, in three stages:
//   links  an invocation for each row finds its sample, the next row with its id in the same sample (WHOLE=1: in any),
//          and whether it is the first of them;
//   rows   a workgroup for each row that is the first adds up all of them and squares the sum;
//   sum    a workgroup for each sample adds up its rows.
#if STAGE=links
#params samples rows vocabulary padding offsets_at ids_at slot
@group(0) @binding(0) var<storage, ${READ}> offsets: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> ids: array<u32>;
@group(0) @binding(2) var<storage, read_write> next: array<u32>;
// With the highest bit set for the first of its id; all bits where a row is nobody's.
@group(0) @binding(3) var<storage, read_write> of_rows: array<u32>;
@group(0) @binding(4) var<storage, read_write> faults: array<atomic<u32>>;
#include offsets

// Within the rows, whatever is written there.
fn bound(sample: u32) -> u32 { return min(offsets[p.offsets_at + sample], p.rows); }

// The last sample that begins at the row or before, if it does not end before.
fn sample_of(row: u32) -> u32 {
  var low = 0u;
  var high = p.samples;
  while (low < high) {
    let middle = (low + high) / 2u;
    if (bound(middle) <= row) { low = middle + 1u; } else { high = middle; }
  }
  if (low == 0u || row >= bound(low)) { return 0xffffffffu; }
  return low - 1u;
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let row = (group.x + group.y * groups.x) * 256u + t;
  if (row < p.samples) { check_segment(row, p.rows + row); }
  if (row >= p.rows) { return; }
  let id = ids[p.ids_at + row];
  if (id >= p.vocabulary) { atomicMax(&faults[p.slot], ~row); }
  var sample = 0xffffffffu;
  if (id < p.vocabulary && id != p.padding) { sample = sample_of(row); }
  of_rows[row] = sample;
  next[row] = 0xffffffffu;
  if (sample == 0xffffffffu) { return; }
#if WHOLE=1
  let begin = bound(0u);
  let end = bound(p.samples);
#else
  let begin = bound(sample);
  let end = bound(sample + 1u);
#end
  var head = true;
  for (var other = begin; head && other < row; other++) { head = ids[p.ids_at + other] != id; }
  if (head) { of_rows[row] = sample | 0x80000000u; }
  for (var other = row + 1u; other < end; other++) {
    if (ids[p.ids_at + other] == id) {
      next[row] = other;
      break;
    }
  }
}
#end
#if STAGE=rows
#params rows d dy_at
@group(0) @binding(0) var<storage, ${READ}> dy: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> next: array<u32>;
@group(0) @binding(2) var<storage, ${READ}> of_rows: array<u32>;
@group(0) @binding(3) var<storage, read_write> terms: array<vec2<f32>>;
#include bits
#include pair
#include gather_pairs
#include load name=dy dtype=${X}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let row = group.x + group.y * groups.x;
  var sum = vec2(0.0);
  if (row < p.rows && of_rows[row] != 0xffffffffu && (of_rows[row] >> 31u) == 1u) {
    for (var j = t; j < p.d; j += 256u) {
      var g = vec2(0.0);
      for (var at = row; at != 0xffffffffu; at = next[at]) { g = add_to(g, dy_load(p.dy_at + at * p.d + j)); }
      let whole = value_of(g);
      sum = add_to(sum, times(whole, whole));
    }
  }
  sum = gather_pairs(t, sum);
  if (t == 0u && row < p.rows) { terms[row] = sum; }
}
#end
#if STAGE=sum
#params samples rows offsets_at out_at
@group(0) @binding(0) var<storage, ${READ}> offsets: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> terms: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
#include pair
#include gather_pairs

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let sample = group.x + group.y * groups.x;
  var sum = vec2(0.0);
  if (sample < p.samples) {
    let end = min(offsets[p.offsets_at + sample + 1u], p.rows);
    for (var row = offsets[p.offsets_at + sample] + t; row < end; row += 256u) {
      sum = add_to(add_to(sum, terms[row].x), terms[row].y);
    }
  }
  sum = gather_pairs(t, sum);
  if (t == 0u && sample < p.samples) { out[p.out_at + sample] = value_of(sum); }
}
#end
