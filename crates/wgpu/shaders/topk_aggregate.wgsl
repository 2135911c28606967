// A step by the sum of payloads, a chunk for each workgroup, half of it at a time: sums and counts of 2,048 elements are
// what workgroup memory holds everywhere. Peers come one after the other, in their order; the entries of one have
// distinct elements, so no two invocations add to one sum at a time.
#params rows columns block_rows block_columns across chunk0 chunks chunks_all element0 k low_bits codes_at lows_at highs_at words fano peers stride tensor_words payloads_at weights_at steps_at theta_at slot
@group(0) @binding(0) var<storage, ${READ}> payloads: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> weights: array<f32>;
@group(0) @binding(2) var<storage, ${READ}> steps: array<f32>;
@group(0) @binding(3) var<storage, read_write> theta: array<f32>;
@group(0) @binding(4) var<storage, read_write> faults: array<atomic<u32>>;
#include payload
#include payload_scale

#if QUANTIZER=int8
const code_bits = 8u;
#end
#if QUANTIZER=none
const code_bits = 32u;
#end
#if QUANTIZER=signMagnitude|reference
const code_bits = 2u;
#end
const half = 2048u;
var<workgroup> sums: array<f32, 2048>;
// Two counts of 16 bits a word.
var<workgroup> counts: array<atomic<u32>, 1024>;
// Bits of the bit string that are set in the words before.
var<workgroup> before: array<u32, 256>;
var<workgroup> population: u32;

// Bits from bit `at` of the words that begin at `start`.
fn field(start: u32, at: u32, bits: u32) -> u32 {
  if (bits == 0u) { return 0u; }
  let word = start + (at >> 5u);
  let shift = at & 31u;
  var value = payloads[word] >> shift;
  if (shift + bits > 32u) { value |= payloads[word + 1u] << (32u - shift); }
  return value & (0xffffffffu >> (32u - bits));
}

// Whether a word has a bit set from bit `used` of its field on; the word is number `i` of the field.
fn spills(word: u32, i: u32, used: u32) -> bool {
  if (32u * i + 31u < used) { return false; }
  return (word >> select(0u, used & 31u, i == (used >> 5u))) != 0u;
}

struct Value { v: f32, sound: bool }

// What entry number i of a chunk stands for.
fn value(peer: u32, start: u32, i: u32) -> Value {
#if QUANTIZER=signMagnitude
  let code = field(start, 32u * p.codes_at + 2u * i, 2u);
  let pair = payloads[start];
  return Value(bitcast<f32>(select(pair << 16u, pair & 0xffff0000u, code >= 2u) | (code << 31u)), true);
#end
#if QUANTIZER=reference
  let code = field(start, 32u * p.codes_at + 2u * i, 2u);
  return Value(bitcast<f32>(payloads[p.payloads_at + peer * p.stride + code]), true);
#end
#if QUANTIZER=int8
  let steps = bitcast<i32>(field(start, 32u * p.codes_at + 8u * i, 8u) << 24u) >> 24u;
  let v = settle(opaque(f32(steps) * bitcast<f32>(payloads[start])));
  return Value(v, steps > -128 && (bitcast<u32>(v) & 0x7fffffffu) <= largest);
#end
#if QUANTIZER=none
  let bits = payloads[start + p.codes_at + i];
  return Value(bitcast<f32>(bits), is_value(bits));
#end
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
  let origin = p.theta_at + row * p.columns + column - p.element0;
  for (var first = 0u; first < len; first += half) {
    for (var i = t; i < half; i += 256u) { sums[i] = 0.0; }
    for (var i = t; i < half / 2u; i += 256u) { atomicStore(&counts[i], 0u); }
    workgroupBarrier();
    for (var peer = 0u; peer < p.peers; peer++) {
      let start = p.payloads_at + peer * p.stride + p.tensor_words + chunk * p.words;
      if (!add(t, peer, start, len, first)) { atomicMax(&faults[p.slot], ~(peer * p.chunks_all + chunk)); }
      workgroupBarrier();
    }
    for (var i = t; i < half && first + i < len; i += 256u) {
      let count = (atomicLoad(&counts[i >> 1u]) >> (16u * (i & 1u))) & 0xffffu;
      let step = settle(opaque(steps[p.steps_at + count] * sums[i]));
      if (count > 0u && step != 0.0) {
        let position = first + i;
        let at = origin + (position / width) * p.columns + position % width;
        theta[at] = theta[at] - step;
      }
    }
    workgroupBarrier();
  }
}

// Adds the entries of a peer that lie in this half; whether what the invocation saw is sound.
fn add(t: u32, peer: u32, start: u32, len: u32, first: u32) -> bool {
  let entries = min(p.k, len);
  var sound = scaled(peer, start);
  for (var w = p.codes_at + t; w < p.lows_at; w += 256u) {
    if (spills(payloads[start + w], w - p.codes_at, entries * code_bits)) { sound = false; }
  }
  for (var w = p.lows_at + t; w < p.highs_at; w += 256u) {
    if (spills(payloads[start + w], w - p.lows_at, entries * p.low_bits)) { sound = false; }
  }
  if (p.fano == 0u) {
    for (var i = t; i < entries; i += 256u) {
      let position = field(start, 32u * p.lows_at + 12u * i, 12u);
      if (i > 0u && field(start, 32u * p.lows_at + 12u * (i - 1u), 12u) >= position) { sound = false; }
      if (!entry(peer, start, i, position, len, first)) { sound = false; }
    }
    return sound;
  }
  let strings = p.words - p.highs_at;
  if (t < strings) {
    var sum = 0u;
    for (var w = 0u; w < t; w++) { sum += countOneBits(payloads[start + p.highs_at + w]); }
    before[t] = sum;
    if (t == strings - 1u) { population = sum + countOneBits(payloads[start + p.highs_at + t]); }
  }
  if (workgroupUniformLoad(&population) != entries) { return false; }
  for (var bit = t; bit < 32u * strings; bit += 256u) {
    let word = payloads[start + p.highs_at + (bit >> 5u)];
    if (((word >> (bit & 31u)) & 1u) == 0u) { continue; }
    let i = before[bit >> 5u] + countOneBits(word & ((1u << (bit & 31u)) - 1u));
    let low = field(start, 32u * p.lows_at + p.low_bits * i, p.low_bits);
    // Of two with the same high bits, which are neighbours, the low bits must ascend.
    let previous = start + p.highs_at + ((max(bit, 1u) - 1u) >> 5u);
    if (bit > 0u && ((payloads[previous] >> ((bit - 1u) & 31u)) & 1u) == 1u
      && field(start, 32u * p.lows_at + p.low_bits * (i - 1u), p.low_bits) >= low) { sound = false; }
    if (!entry(peer, start, i, ((bit - i) << p.low_bits) | low, len, first)) { sound = false; }
  }
  return sound;
}

// Adds an entry that lies in this half; whether it is sound.
fn entry(peer: u32, start: u32, i: u32, position: u32, len: u32, first: u32) -> bool {
  let value = value(peer, start, i);
  let place = position - first;
  if (position < len && position >= first && place < half) {
    sums[place] = sums[place] + settle(opaque(weights[p.weights_at + peer] * value.v));
    atomicAdd(&counts[place >> 1u], 1u << (16u * (place & 1u)));
  }
  return value.sound && position < len;
}
