// A chunk of a pseudo-gradient for each workgroup: accumulated into registers, sixteen elements an invocation, of which
// radix selection finds the greatest; their order by position is that of a bitmap. All sums are of integers, by atomics whose
// order does not matter. Words are put together in workgroup memory.
#params rows columns block_rows block_columns across chunk0 chunks element0 k decay low_bits codes_at lows_at highs_at words fano base_at local_at residual_at out_at payload_at slot
@group(0) @binding(0) var<storage, ${READ}> base: array<f32>;
@group(0) @binding(1) var<storage, ${READ}> local: array<f32>;
@group(0) @binding(2) var<storage, ${READ}> residual: array<f32>;
@group(0) @binding(3) var<storage, read_write> residual_out: array<f32>;
@group(0) @binding(4) var<storage, read_write> payload: array<u32>;
@group(0) @binding(5) var<storage, read_write> faults: array<atomic<u32>>;
#include payload
#include topk_order
#include topk_pick

var<workgroup> histogram: array<atomic<u32>, 256>;
// A bit for each element that is sent, and how many are in the words before.
var<workgroup> marks: array<atomic<u32>, 128>;
var<workgroup> before: array<u32, 128>;
// The words of the chunk; those of its codes only where they are shorter than a word each.
var<workgroup> packed: array<atomic<u32>, 2688>;
var<workgroup> greatest_bits: atomic<u32>;
var<workgroup> greatest_all: u32;
// Sums and counts, a pair for each round of the fit.
var<workgroup> sums: array<atomic<u32>, 14>;

fn put(at: u32, bits: u32, value: u32) {
  if (bits == 0u) { return; }
  let word = at >> 5u;
  let shift = at & 31u;
  atomicOr(&packed[word], value << shift);
  if (shift + bits > 32u) { atomicOr(&packed[word + 1u], value >> (32u - shift)); }
}

// A magnitude in units of the last of 20 digits of the greatest.
fn digits(m: u32, greatest: u32) -> u32 {
  let mantissa = (m & 0x007fffffu) | 0x00800000u;
  return mantissa >> min(4u + (greatest >> 23u) - (m >> 23u), 31u);
}

fn mean(sum: u32, count: u32) -> u32 { return select(sum / max(count, 1u), 0u, count == 0u); }

// The nearest bf16 of a mean in units of the digits, as bits.
fn half_of(m: u32, greatest: u32) -> u32 {
  let unit = bitcast<f32>((greatest & 0x7f800000u) - (19u << 23u));
  let bits = bitcast<u32>(settle(f32(m) * unit));
  return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group_id: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let group = group_id.x + group_id.y * groups.x;
  if (group >= p.chunks) { return; }
  let chunk = p.chunk0 + group;
  let row = (chunk / p.across) * p.block_rows;
  let column = (chunk % p.across) * p.block_columns;
  let width = min(p.block_columns, p.columns - column);
  let len = min(p.block_rows, p.rows - row) * width;
  let origin = row * p.columns + column - p.element0;

  atomicStore(&histogram[t], 0u);
  if (t < 128u) { atomicStore(&marks[t], 0u); }
  if (t < 14u) { atomicStore(&sums[t], 0u); }
  if (t == 0u) { atomicStore(&greatest_bits, 0u); }
  for (var i = t; i < 2688u; i += 256u) { atomicStore(&packed[i], 0u); }
  workgroupBarrier();

  var acc: array<u32, 16>;
  var most = 0u;
  let decay = bitcast<f32>(p.decay);
  for (var j = 0u; j < 16u; j++) {
    let i = j * 256u + t;
    acc[j] = 0u;
    if (i < len) {
      let at = origin + (i / width) * p.columns + i % width;
      let kept = settle(opaque(decay * residual[p.residual_at + at]));
      let moved = settle(base[p.base_at + at] - local[p.local_at + at]);
      acc[j] = bitcast<u32>(settle(kept + moved));
      most = max(most, magnitude(acc[j]));
    }
  }
  atomicMax(&greatest_bits, most);
  workgroupBarrier();
  if (t == 0u) { greatest_all = atomicLoad(&greatest_bits); }
  let greatest = workgroupUniformLoad(&greatest_all);
  if (greatest > largest) {
    if (t == 0u) { atomicMax(&faults[p.slot], ~chunk); }
    return;
  }

  let entries = min(p.k, len);
  var rank = entries;
  var chosen = vec2(0u);
  for (var level = 0u; level < 8u; level++) {
    for (var j = 0u; j < 16u; j++) {
      let i = j * 256u + t;
      if (i < len && agrees(level, acc[j], i, chosen)) { atomicAdd(&histogram[digit(level, acc[j], i)], 1u); }
    }
    workgroupBarrier();
    let found = pick(t, atomicLoad(&histogram[t]), rank);
    if (level < 4u) { chosen.x |= found.x << digit_shift(level); } else { chosen.y |= found.x << digit_shift(level); }
    rank = found.z;
    atomicStore(&histogram[t], 0u);
    workgroupBarrier();
    if (level == 3u && found.y == rank) { break; }
  }

  for (var j = 0u; j < 16u; j++) {
    let i = j * 256u + t;
    if (i < len && selected(acc[j], i, chosen)) {
      atomicOr(&marks[i >> 5u], 1u << (i & 31u));
#if QUANTIZER=signMagnitude
      atomicAdd(&sums[0], digits(magnitude(acc[j]), greatest));
#end
    }
  }
  workgroupBarrier();
  if (t < 128u) {
    var sum = 0u;
    for (var i = 0u; i < t; i++) { sum += countOneBits(atomicLoad(&marks[i])); }
    before[t] = sum;
  }
  workgroupBarrier();

#if QUANTIZER=signMagnitude
  // The split between the magnitudes: four rounds, and the means of the last.
  let all = atomicLoad(&sums[0]);
  var split = all / entries;
  var low = 0u;
  var high = 0u;
  for (var round = 1u; round <= 5u; round++) {
    for (var j = 0u; j < 16u; j++) {
      let i = j * 256u + t;
      if (i < len && selected(acc[j], i, chosen)) {
        let q = digits(magnitude(acc[j]), greatest);
        if (q >= split) {
          atomicAdd(&sums[2u * round], q);
          atomicAdd(&sums[2u * round + 1u], 1u);
        }
      }
    }
    workgroupBarrier();
    let sum = atomicLoad(&sums[2u * round]);
    let count = atomicLoad(&sums[2u * round + 1u]);
    low = mean(all - sum, entries - count);
    high = mean(sum, count);
    if (round <= 4u) { split = (low + high + 1u) / 2u; }
  }
  let some = greatest > 0u;
  let pair = select(0u, (half_of(high, max(greatest, smallest)) << 16u) | half_of(low, max(greatest, smallest)), some);
  if (t == 0u) { atomicStore(&packed[0], pair); }
#end
#if QUANTIZER=int8
  // Times the nearest number to 1/127.
  let step = bitcast<f32>(greatest) * bitcast<f32>(0x3c010204u);
  if (t == 0u) { atomicStore(&packed[0], bitcast<u32>(step)); }
#end

  let start = p.payload_at + group * p.words;
#if QUANTIZER=none
  // Codes of a word each go to their place at once, and those that a short chunk lacks are 0.
  for (var i = entries + t; i < p.k; i += 256u) { payload[start + p.codes_at + i] = 0u; }
#end
  for (var j = 0u; j < 16u; j++) {
    let i = j * 256u + t;
    if (i >= len) { continue; }
    let at = p.out_at + origin + (i / width) * p.columns + i % width;
    var rest = acc[j];
    if (selected(acc[j], i, chosen)) {
      let nth = before[i >> 5u] + countOneBits(atomicLoad(&marks[i >> 5u]) & ((1u << (i & 31u)) - 1u));
      let sign = acc[j] >> 31u;
#if QUANTIZER=signMagnitude
      let upper = u32(some && digits(magnitude(acc[j]), greatest) >= split);
      put(p.codes_at * 32u + 2u * nth, 2u, (upper << 1u) | sign);
      let sent = bitcast<f32>(select(pair << 16u, pair & 0xffff0000u, upper == 1u) | (sign << 31u));
#end
#if QUANTIZER=int8
      let g = max(digits(greatest, greatest), 1u);
      let count = select(0u, (254u * digits(magnitude(acc[j]), greatest) + g) / (2u * g), greatest > 0u);
      let steps = select(i32(count), -i32(count), sign == 1u);
      put(p.codes_at * 32u + 8u * nth, 8u, bitcast<u32>(steps) & 0xffu);
      let sent = settle(opaque(f32(steps) * step));
#end
#if QUANTIZER=none
      payload[start + p.codes_at + nth] = acc[j];
      let sent = bitcast<f32>(acc[j]);
#end
      rest = bitcast<u32>(settle(bitcast<f32>(acc[j]) - sent));
      put(skipped(p.lows_at) * 32u + p.low_bits * nth, p.low_bits, i & ((1u << p.low_bits) - 1u));
      if (p.fano == 1u) { put(skipped(p.highs_at) * 32u + (i >> p.low_bits) + nth, 1u, 1u); }
    }
    residual_out[at] = bitcast<f32>(rest);
  }
  workgroupBarrier();
#if QUANTIZER=none
  for (var w = p.lows_at + t; w < p.words; w += 256u) { payload[start + w] = atomicLoad(&packed[skipped(w)]); }
#else
  for (var w = t; w < p.words; w += 256u) { payload[start + w] = atomicLoad(&packed[w]); }
#end
}

// The place of a word among those that are put together here.
fn skipped(word: u32) -> u32 {
#if QUANTIZER=none
  return word - p.lows_at;
#else
  return word;
#end
}
