// The sum of the squares of payloads. STEP=chunks: an invocation for each chunk, from its codes and scale, and the sum of
// 256 by halves; STEP=sums: that of 256 sums.
#if STEP=chunks
#params rows columns block_rows block_columns across chunks blocks k low_bits codes_at lows_at highs_at words fano stride tensor_words payloads_at slot
#else
#params n blocks sums_at
#end
#if STEP=chunks
@group(0) @binding(0) var<storage, ${READ}> payloads: array<u32>;
#else
@group(0) @binding(0) var<storage, ${READ}> sums: array<f32>;
#end
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
#if STEP=chunks
@group(0) @binding(2) var<storage, read_write> faults: array<atomic<u32>>;
#include payload
#include payload_scale
#end

var<workgroup> parts: array<f32, 256>;

// p.blocks workgroups for each payload.
@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group_id: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let group = group_id.x + group_id.y * groups.x;
  let peer = group / p.blocks;
  parts[t] = part(peer, (group % p.blocks) * 256u + t);
  workgroupBarrier();
  for (var reach = 128u; reach > 0u; reach >>= 1u) {
    if (t < reach) { parts[t] = parts[t] + parts[t + reach]; }
    workgroupBarrier();
  }
  if (t == 0u) { out[group] = parts[0]; }
}

#if STEP=sums
fn part(peer: u32, i: u32) -> f32 {
  if (i >= p.n) { return 0.0; }
  return sums[p.sums_at + peer * p.n + i];
}
#else
// 2^-120: a sum below counts as 0.
const smallest_square = 0x03800000u;

fn part(peer: u32, chunk: u32) -> f32 {
  if (chunk >= p.chunks) { return 0.0; }
  let row = (chunk / p.across) * p.block_rows;
  let column = (chunk % p.across) * p.block_columns;
  let entries = min(p.k, min(p.block_rows, p.rows - row) * min(p.block_columns, p.columns - column));
  let start = p.payloads_at + peer * p.stride + p.tensor_words + chunk * p.words;
  if (!sound(peer, start, entries)) { atomicMax(&faults[p.slot], ~(peer * p.chunks + chunk)); }
  let sum = square(peer, start, entries);
  return bitcast<f32>(select(bitcast<u32>(sum), 0u, bitcast<u32>(sum) < smallest_square));
}

// An integer as the nearest number, where a conversion may do something else: in two exact parts.
fn nearest(n: u32) -> f32 { return opaque(f32(n >> 12u) * 4096.0) + f32(n & 0xfffu); }

// Whether the scale of a chunk, or all of its values where they are as they were, may stand there.
fn sound(peer: u32, start: u32, entries: u32) -> bool {
#if QUANTIZER=none
  var all = true;
  for (var i = 0u; i < entries; i++) { all = all && is_value(payloads[start + p.codes_at + i]); }
  return all;
#else
  return scaled(peer, start);
#end
}

#if QUANTIZER=signMagnitude|reference
// How many entries have each code.
fn histogram(start: u32, entries: u32) -> vec4<u32> {
  var counts = vec4(0u);
  for (var w = 0u; 16u * w < entries; w++) {
    let word = payloads[start + p.codes_at + w];
    let used = 0x55555555u & (0xffffffffu >> (32u - 2u * min(entries - 16u * w, 16u)));
    let first = word & used;
    let second = (word >> 1u) & used;
    counts += vec4(
      countOneBits(used & ~first & ~second), countOneBits(first & ~second),
      countOneBits(second & ~first), countOneBits(first & second));
  }
  return counts;
}
#end

fn square(peer: u32, start: u32, entries: u32) -> f32 {
#if QUANTIZER=signMagnitude
  let counts = histogram(start, entries);
  let low = bitcast<f32>(payloads[start] << 16u);
  let high = bitcast<f32>(payloads[start] & 0xffff0000u);
  return opaque(f32(counts.x + counts.y) * opaque(low * low)) + opaque(f32(counts.z + counts.w) * opaque(high * high));
#end
#if QUANTIZER=reference
  let counts = histogram(start, entries);
  let levels = p.payloads_at + peer * p.stride;
  var sum = 0.0;
  for (var c = 0u; c < 4u; c++) {
    let level = bitcast<f32>(payloads[levels + c]);
    sum = opaque(sum + opaque(f32(counts[c]) * opaque(level * level)));
  }
  return sum;
#end
#if QUANTIZER=int8
  var sum = 0u;
  for (var i = 0u; i < entries; i++) {
    let word = payloads[start + p.codes_at + (i >> 2u)];
    let code = bitcast<i32>(word << (24u - 8u * (i & 3u))) >> 24u;
    sum += u32(code * code);
  }
  let step = bitcast<f32>(payloads[start]);
  return opaque(opaque(nearest(sum) * step) * step);
#end
#if QUANTIZER=none
  var sum = 0.0;
  for (var i = 0u; i < entries; i++) {
    let x = bitcast<f32>(payloads[start + p.codes_at + i]);
    sum = opaque(sum + opaque(x * x));
  }
  return sum;
#end
}
#end
