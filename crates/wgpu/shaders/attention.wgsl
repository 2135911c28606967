// Causal attention within documents: a workgroup takes a tile of rows of a document with one head, and goes over the
// keys up to its last row, some at a time. SIZE is what the components of a head fill up to: a tile has 2048 / SIZE
// rows, and 1024 / SIZE keys are taken at a time. Tiles and keys count from where the document begins.
//
// Documents take tiles that are numbered without anybody counting them: document d has those from
// begin / rows + d on, which are enough, whatever the lengths are.
//
// Sums are left in f32, where the output is f32 in the output itself. Where a binding cannot show all keys a dispatch
// takes those tiles of keys that begin in p.keys keys from p.key0 on, and leaves maxima and sums beside (CARRY=1).
#if STAGE=check
#params documents offsets_at rows slot
@group(0) @binding(0) var<storage, ${READ}> offsets: array<u32>;
@group(0) @binding(1) var<storage, read_write> faults: array<atomic<u32>>;
#include offsets

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let document = (group.x + group.y * groups.x) * 256u + t;
  if (document >= p.documents) { return; }
  check_segment(document, document);
}
#end
#if STAGE=tiles
#params tile0 documents offsets_at rows heads group d q0 q_rows q_at key0 keys k_at v_at out_at scale first last
#include bits
#include math
@group(0) @binding(0) var<storage, ${READ}> q: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> k: array<u32>;
@group(0) @binding(2) var<storage, ${READ}> v: array<u32>;
@group(0) @binding(3) var<storage, ${READ}> offsets: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
#if CARRY=1
@group(0) @binding(5) var<storage, read_write> carried: array<vec2<f32>>;
#end
#include load name=q dtype=${X}
#include load name=k dtype=${X}
#include load name=v dtype=${X}

const size = ${SIZE}u;
const quads = size / 4u;
const tile_rows = 2048u / size;
const tile_keys = 1024u / size;
// Invocations that share a row, each with 8 of its sums.
const lanes = 256u / tile_rows;
// Invocations that share a score, or scores that an invocation makes.
const split = max(1u, 256u / (tile_rows * tile_keys));
const scores_each = max(1u, tile_rows * tile_keys / 256u);

var<workgroup> shared_q: array<vec4<f32>, 512>;
var<workgroup> shared_kv: array<vec4<f32>, 256>;
var<workgroup> scores: array<f32, 512>;
var<workgroup> weights: array<f32, 512>;

fn number_of_first_tile(document: u32) -> u32 { return offsets[p.offsets_at + document] / tile_rows + document; }

fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }

// Four components, 0 from the last on.
fn q_quad(at: u32, i: u32) -> vec4<f32> {
  var quad = vec4(0.0);
  for (var c = 0u; c < 4u; c++) { if (i + c < p.d) { quad[c] = q_load(at + i + c); } }
  return quad;
}
fn k_quad(at: u32, i: u32) -> vec4<f32> {
  var quad = vec4(0.0);
  for (var c = 0u; c < 4u; c++) { if (i + c < p.d) { quad[c] = k_load(at + i + c); } }
  return quad;
}
fn v_quad(at: u32, i: u32) -> vec4<f32> {
  var quad = vec4(0.0);
  for (var c = 0u; c < 4u; c++) { if (i + c < p.d) { quad[c] = v_load(at + i + c); } }
  return quad;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let tile = p.tile0 + group.x;
  let head = group.y;
  // The last document whose first tile is not behind this one.
  var low = 0u;
  var high = p.documents;
  while (low + 1u < high) {
    let middle = (low + high) / 2u;
    if (number_of_first_tile(middle) <= tile) { low = middle; } else { high = middle; }
  }
  let begin = offsets[p.offsets_at + low];
  let end = min(offsets[p.offsets_at + low + 1u], p.rows);
  let row0 = begin + (tile - number_of_first_tile(low)) * tile_rows;
  let row_end = min(row0 + tile_rows, end);
  // No such tile, or none of its rows is one of this dispatch: then there are no keys either.
  let there = tile >= number_of_first_tile(low) && row0 < end && row_end > p.q0 && row0 < p.q0 + p.q_rows;
  let columns = p.heads * p.d;
  let kv_columns = columns / p.group;
  let of_head = head * p.d;
  let of_kv = head / p.group * p.d;

  for (var i = t; i < 512u; i += 256u) {
    let row = row0 + i / quads;
    var quad = vec4(0.0);
    if (there && row >= p.q0 && row < min(row_end, p.q0 + p.q_rows)) {
      quad = q_quad(p.q_at + (row - p.q0) * columns + of_head, 4u * (i % quads)) * bitcast<f32>(p.scale);
    }
    shared_q[i] = quad;
  }

  let own = t / lanes;
  let lane = t % lanes;
  let row = row0 + own;
  let mine = there && row >= p.q0 && row < min(row_end, p.q0 + p.q_rows);
  let out_at = p.out_at + (row - p.q0) * columns + of_head + 8u * lane;
  var most = lowest;
  var sum = 0.0;
  var low4 = vec4(0.0);
  var high4 = vec4(0.0);
#if CARRY=1
  if (mine && p.first == 0u) {
    let before = carried[(row - p.q0) * p.heads + head];
    most = before.x;
    sum = before.y;
    for (var c = 0u; c < 4u; c++) {
      if (8u * lane + c < p.d) { low4[c] = out[out_at + c]; }
      if (8u * lane + 4u + c < p.d) { high4[c] = out[out_at + 4u + c]; }
    }
  }
#end
  // The tiles of keys that begin in the window of this dispatch; the count is the same for all invocations, as barriers
  // need it to be.
  let skipped = select(0u, (p.key0 - begin + tile_keys - 1u) / tile_keys, p.key0 > begin);
  let key_end = select(0u, min(row_end, p.key0 + p.keys), there);
  let first_key = begin + skipped * tile_keys;
  var count = 0u;
  if (key_end > first_key) { count = (key_end - first_key + tile_keys - 1u) / tile_keys; }
  // By way of memory that the first scores are written to later; exact up to 2^24.
  if (t == 0u) { scores[0] = f32(count); }
  count = u32(workgroupUniformLoad(&scores[0]));
  for (var step = 0u; step < count; step++) {
    let key0 = first_key + step * tile_keys;
    workgroupBarrier();
    {
      let key = key0 + t / quads;
      var quad = vec4(0.0);
      if (key < row_end) { quad = k_quad(p.k_at + (key - p.key0) * kv_columns + of_kv, 4u * (t % quads)); }
      shared_kv[t] = quad;
    }
    workgroupBarrier();
    for (var s = 0u; s < scores_each; s++) {
      let number = (t + 256u * s) / split;
      let part = (t + 256u * s) % split;
      let of_row = number / tile_keys;
      let of_key = number % tile_keys;
      var products = vec4(0.0);
      for (var i = part * (quads / split); i < (part + 1u) * (quads / split); i++) {
        products += shared_q[of_row * quads + i] * shared_kv[of_key * quads + i];
      }
      scores[t + 256u * s] = (products.x + products.y) + (products.z + products.w);
    }
    workgroupBarrier();
    {
      let key = key0 + t / quads;
      var quad = vec4(0.0);
      if (key < row_end) { quad = v_quad(p.v_at + (key - p.key0) * kv_columns + of_kv, 4u * (t % quads)); }
      shared_kv[t] = quad;
    }
    var greatest = most;
    for (var j = 0u; j < tile_keys; j++) {
      var score = scores[(own * tile_keys + j) * split];
      for (var i = 1u; i < split; i++) { score += scores[(own * tile_keys + j) * split + i]; }
      if (key0 + j <= row && score > greatest) { greatest = score; }
    }
    // Each invocation makes some of the weights of its row.
    for (var j = lane; j < tile_keys; j += lanes) {
      var score = scores[(own * tile_keys + j) * split];
      for (var i = 1u; i < split; i++) { score += scores[(own * tile_keys + j) * split + i]; }
      var weight = exp_f32(score - greatest);
      // A device need not let a NaN through a comparison.
      if (is_nan(score)) { weight = score; }
      weights[own * tile_keys + j] = select(0.0, weight, key0 + j <= row);
    }
    workgroupBarrier();
    let factor = exp_f32(most - greatest);
    most = greatest;
    sum *= factor;
    low4 *= factor;
    high4 *= factor;
    for (var j = 0u; j < tile_keys; j++) {
      let weight = weights[own * tile_keys + j];
      sum += weight;
      low4 += weight * shared_kv[j * quads + 2u * lane];
      high4 += weight * shared_kv[j * quads + 2u * lane + 1u];
    }
  }
  if (!mine) { return; }
  if (p.last == 1u) {
    low4 /= sum;
    high4 /= sum;
  }
  for (var c = 0u; c < 4u; c++) {
    if (8u * lane + c < p.d) { out[out_at + c] = low4[c]; }
    if (8u * lane + 4u + c < p.d) { out[out_at + 4u + c] = high4[c]; }
  }
#if CARRY=1
  if (lane == 0u) { carried[(row - p.q0) * p.heads + head] = vec2(most, sum); }
#end
}
#end
