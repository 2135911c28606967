// topk_aggregate: a step by the sum of payloads.
//
// A block a chunk, whose sums are in shared memory. Peers come one after the other, in their order; the entries of one
// have distinct elements, so no two threads add to one sum at a time, and no order of threads changes a bit.
#include "payload.cuh"

constexpr u32 ELEMENTS = 4096, STRINGS = 256;

struct AggregateArgs {
  const u32* payloads;
  const float* weights;
  const float* steps;
  float* theta;
  u32* status;
  u64 stride;
  Geometry geometry;
  Layout layout;
  u32 peers;
  u32 unused;
};

struct Shared {
  float sums[ELEMENTS];
  u32 counts[ELEMENTS / 2];  // Two of 16 bits a word.
  u32 before[STRINGS];       // Bits of the bit string that are set in the words before.
};

// Bits from bit `at` of the words on.
DEVICE u32 field(const u32* words, u32 at, u32 bits) {
  if (bits == 0) return 0;
  u32 value = words[at / 32] >> (at % 32);
  if (at % 32 + bits > 32) value |= words[at / 32 + 1] << (32 - at % 32);
  return value & (0xFFFFFFFFu >> (32 - bits));
}

// Whether word `i` of a field has a bit set from bit `used` of the field on.
DEVICE bool spills(u32 word, u32 i, u32 used) {
  return 32 * i + 31 >= used && word >> (i == used / 32 ? used % 32 : 0) != 0;
}

template <int Q>
DEVICE bool scaled(const u32* payload, const u32* words) {
  if (Q == SIGN_MAGNITUDE) return are_magnitudes(words[0]);
  if (Q == REFERENCE)
    return is_value(payload[0]) && is_value(payload[1]) && is_value(payload[2]) && is_value(payload[3]);
  return Q != INT8 || is_step(words[0]);
}

// What entry `i` stands for; clears `sound` where it stands for nothing.
template <int Q>
DEVICE float value(const Layout& layout, const u32* payload, const u32* words, u32 i, bool& sound) {
  const u32 code = field(words, 32 * layout.codes_at + code_bits(Q) * i, code_bits(Q));
  if (Q == SIGN_MAGNITUDE) return bits_float((code >= 2 ? words[0] & 0xFFFF0000u : words[0] << 16) | code << 31);
  if (Q == REFERENCE) return bits_float(payload[code]);
  if (Q == NONE) {
    sound = sound && is_value(code);
    return bits_float(code);
  }
  const i32 steps = i32(code) - (code >= 128 ? 256 : 0);
  const float v = settle(multiply(float(steps), bits_float(words[0])));
  sound = sound && steps > -128 && magnitude(float_bits(v)) <= LARGEST;
  return v;
}

// Adds an entry; one beyond the chunk is none.
template <int Q>
DEVICE void entry(Shared& s, const AggregateArgs& args, const u32* payload, const u32* words, u32 n, float weight, u32 i,
                  u32 position, bool& sound) {
  const float v = value<Q>(args.layout, payload, words, i, sound);
  if (position >= n) {
    sound = false;
    return;
  }
  s.sums[position] = add(s.sums[position], settle(multiply(weight, v)));
  atomic_add(s.counts + position / 2, 1u << (16 * (position % 2)));
}

// Adds the entries of a peer; whether what the thread saw is sound.
template <int Q>
DEVICE bool peer(Shared& s, const AggregateArgs& args, const u32* payload, const u32* words, u32 n, float weight) {
  const Layout& layout = args.layout;
  const u32 entries = least(layout.k, n), low = 32 * layout.lows_at, bits = layout.low_bits;
  bool sound = scaled<Q>(payload, words);
  for (u32 w = layout.codes_at + threadIdx.x; w < layout.lows_at; w += BLOCK)
    sound = sound && !spills(words[w], w - layout.codes_at, entries * code_bits(Q));
  for (u32 w = layout.lows_at + threadIdx.x; w < layout.highs_at; w += BLOCK)
    sound = sound && !spills(words[w], w - layout.lows_at, entries * bits);
  if (!layout.fano) {
    for (u32 i = threadIdx.x; i < entries; i += BLOCK) {
      const u32 position = field(words, low + bits * i, bits);
      sound = sound && (i == 0 || field(words, low + bits * (i - 1), bits) < position);
      entry<Q>(s, args, payload, words, n, weight, i, position, sound);
    }
    return sound;
  }
  const u32* string = words + layout.highs_at;
  const u32 length = layout.words - layout.highs_at;
  if (threadIdx.x < length) {
    u32 sum = 0;
    for (u32 w = 0; w < threadIdx.x; w++) sum += population(string[w]);
    s.before[threadIdx.x] = sum;
  }
  sync_block();
  if (s.before[length - 1] + population(string[length - 1]) != entries) return false;
  for (u32 bit = threadIdx.x; bit < 32 * length; bit += BLOCK) {
    const u32 word = string[bit / 32];
    if ((word >> (bit % 32) & 1) == 0) continue;
    const u32 i = s.before[bit / 32] + population(word & ((1u << (bit % 32)) - 1));
    const u32 own = field(words, low + bits * i, bits);
    // Of two with the same high bits, which are neighbours, the low bits must ascend.
    if (bit > 0 && (string[(bit - 1) / 32] >> ((bit - 1) % 32) & 1))
      sound = sound && field(words, low + bits * (i - 1), bits) < own;
    entry<Q>(s, args, payload, words, n, weight, i, (bit - i) << bits | own, sound);
  }
  return sound;
}

template <int Q>
DEVICE void aggregate(const AggregateArgs& args) {
  Shared& s = *reinterpret_cast<Shared*>(shared_memory());
  const u32 chunk = blockIdx.x;
  const Place place(args.geometry, chunk);
  for (u32 i = threadIdx.x; i < ELEMENTS; i += BLOCK) s.sums[i] = 0.0f;
  for (u32 i = threadIdx.x; i < ELEMENTS / 2; i += BLOCK) s.counts[i] = 0;
  sync_block();
  for (u32 r = 0; r < args.peers; r++) {
    const u32* payload = args.payloads + r * args.stride;
    const u32* words = payload + args.layout.tensor_words + u64(chunk) * args.layout.words;
    if (!peer<Q>(s, args, payload, words, place.n, args.weights[r]))
      report_fault(args.status, u64(r) * args.geometry.chunks + chunk);
    sync_block();
  }
  for (u32 i = threadIdx.x; i < place.n; i += BLOCK) {
    const u32 count = s.counts[i / 2] >> (16 * (i % 2)) & 0xFFFFu;
    const float step = settle(multiply(args.steps[count], s.sums[i]));
    float* theta = args.theta + place.at(args.geometry, i);
    if (count > 0 && step != 0.0f) *theta = add(*theta, -step);
  }
}

KERNEL(topk_aggregate_signMagnitude, AggregateArgs, aggregate<SIGN_MAGNITUDE>(args))
KERNEL(topk_aggregate_reference, AggregateArgs, aggregate<REFERENCE>(args))
KERNEL(topk_aggregate_int8, AggregateArgs, aggregate<INT8>(args))
KERNEL(topk_aggregate_none, AggregateArgs, aggregate<NONE>(args))
