// topk_encode: the greatest entries of each chunk of a pseudo-gradient with error feedback, as a payload.
//
// A block a chunk, whose elements stay in registers, sixteen a thread: they are read once and written once. The k-th
// greatest magnitude is found by bisection on its bits, which looks at registers alone and ends as soon as a threshold
// leaves exactly k; histograms would have most threads wait for the few bins of the first digits. All sums are of integers, so
// that their order does not matter. Positions come out in order by a bitmap.
#include "payload.cuh"

constexpr u32 EACH = 16, WARPS = BLOCK / WARP, MARKS = EACH * BLOCK / 32, PACKED = 2688, ROUNDS = 4;

struct EncodeArgs {
  const float* base;
  const float* local;
  const float* residual;
  float* out;
  u32* payload;
  u32* status;
  Geometry geometry;
  Layout layout;
  float decay;
  u32 unused;
};

struct Shared {
  u32 sums[2][2 * WARPS];  // Of each warp; two of them, in turns, so that one barrier is enough.
  u32 marks[MARKS];        // A bit for each element that is sent, or that is equal to the last that is.
  u32 groups[MARKS / 16];
  u32 before[MARKS];  // Bits in the words before.
  u32 packed[PACKED];
};

struct Pair {
  u32 a, b;
};

// Sums over the block, or (a) maximum; `turn` counts calls.
template <bool MAX>
DEVICE Pair reduce(Shared& s, u32 turn, Pair x) {
  for (u32 mask = 1; mask < WARP; mask *= 2) {
    const u32 a = shuffle_xor(x.a, mask), b = shuffle_xor(x.b, mask);
    x = MAX ? Pair{x.a > a ? x.a : a, 0} : Pair{x.a + a, x.b + b};
  }
  u32* sums = s.sums[turn % 2];
  if (threadIdx.x % WARP == 0) {
    sums[threadIdx.x / WARP] = x.a;
    sums[WARPS + threadIdx.x / WARP] = x.b;
  }
  sync_block();
  Pair all{0, 0};
  for (u32 w = 0; w < WARPS; w++) {
    all.a = MAX ? (all.a > sums[w] ? all.a : sums[w]) : all.a + sums[w];
    all.b += sums[WARPS + w];
  }
  return all;
}

// Marks the elements of `mine` (bit j: element j * 256 + thread), and counts the marks of the words before each.
DEVICE void mark(Shared& s, u32 mine) {
  sync_block();
  for (u32 i = threadIdx.x; i < MARKS; i += BLOCK) s.marks[i] = 0;
  sync_block();
  UNROLL
  for (u32 j = 0; j < EACH; j++) {
    const u32 i = j * BLOCK + threadIdx.x;
    // Each bit is added once.
    if (mine >> j & 1) atomic_add(s.marks + i / 32, 1u << (i % 32));
  }
  sync_block();
  if (threadIdx.x < MARKS / 16) {
    u32 sum = 0;
    for (u32 i = 0; i < 16; i++) sum += population(s.marks[16 * threadIdx.x + i]);
    s.groups[threadIdx.x] = sum;
  }
  sync_block();
  if (threadIdx.x < MARKS) {
    u32 sum = 0;
    for (u32 g = 0; g < threadIdx.x / 16; g++) sum += s.groups[g];
    for (u32 i = threadIdx.x & ~15u; i < threadIdx.x; i++) sum += population(s.marks[i]);
    s.before[threadIdx.x] = sum;
  }
  sync_block();
}

DEVICE u32 number(const Shared& s, u32 i) {
  return s.before[i / 32] + population(s.marks[i / 32] & ((1u << (i % 32)) - 1));
}

DEVICE void put(Shared& s, u32 at, u32 bits, u32 value) {
  if (bits == 0) return;
  // Each bit is added once.
  atomic_add(s.packed + at / 32, value << (at % 32));
  if (at % 32 + bits > 32) atomic_add(s.packed + at / 32 + 1, value >> (32 - at % 32));
}

// A magnitude in units of the last of 20 digits of the greatest.
DEVICE u32 digits(u32 m, u32 greatest) {
  return ((m & 0x007FFFFFu) | 0x00800000u) >> least(4 + (greatest >> 23) - (m >> 23), 31u);
}

DEVICE u32 mean(u32 sum, u32 count) { return count == 0 ? 0 : sum / count; }

// The nearest bf16 of a mean in units of the digits, as bits.
DEVICE u32 half_of(u32 m, u32 greatest) {
  const float unit = bits_float((greatest & 0x7F800000u) - (19u << 23));
  const u32 bits = float_bits(settle(multiply(float(m), unit)));
  return (bits + 0x7FFFu + (bits >> 16 & 1)) >> 16;
}

template <int Q>
DEVICE void encode(const EncodeArgs& args) {
  Shared& s = *reinterpret_cast<Shared*>(shared_memory());
  const Layout& layout = args.layout;
  const u32 chunk = blockIdx.x, t = threadIdx.x;
  const Place place(args.geometry, chunk);
  u32 acc[EACH], most = 0;
  UNROLL
  for (u32 j = 0; j < EACH; j++) {
    const u32 i = j * BLOCK + t;
    acc[j] = 0;
    if (i < place.n) {
      const u64 at = place.at(args.geometry, i);
      const float kept = settle(multiply(args.decay, args.residual[at]));
      acc[j] = float_bits(settle(add(kept, settle(add(args.base[at], -args.local[at])))));
    }
    most = most > magnitude(acc[j]) ? most : magnitude(acc[j]);
  }
  for (u32 i = t; i < PACKED; i += BLOCK) s.packed[i] = 0;
  u32 turn = 0;
  const u32 greatest = reduce<true>(s, turn++, Pair{most, 0}).a;
  if (greatest > LARGEST) {
    if (t == 0) report_fault(args.status, chunk);
    return;
  }

  // At least `entries` magnitudes reach `low`, exactly `reached`; fewer reach `high`.
  const u32 entries = least(layout.k, place.n);
  u32 low = 0, high = greatest + 1, reached = place.n;
  while (reached != entries && high - low > 1) {
    const u32 middle = low + (high - low) / 2;
    u32 own = 0;
    UNROLL
    for (u32 j = 0; j < EACH; j++) own += magnitude(acc[j]) >= middle;
    const u32 count = reduce<false>(s, turn++, Pair{own, 0}).a;
    if (count >= entries) {
      low = middle;
      reached = count;
    } else {
      high = middle;
    }
  }
  u32 mine = 0;
  UNROLL
  for (u32 j = 0; j < EACH; j++)
    if (j * BLOCK + t < place.n && magnitude(acc[j]) >= low) mine |= 1u << j;
  if (reached != entries) {
    // Of those equal to the last, the first.
    u32 equal = 0;
    UNROLL
    for (u32 j = 0; j < EACH; j++)
      if ((mine >> j & 1) && magnitude(acc[j]) == low) equal |= 1u << j;
    const u32 above = reduce<false>(s, turn++, Pair{population(mine & ~equal), 0}).a;
    mark(s, equal);
    UNROLL
    for (u32 j = 0; j < EACH; j++)
      if ((equal >> j & 1) && above + number(s, j * BLOCK + t) >= entries) mine &= ~(1u << j);
  }
  mark(s, mine);

  u32 split = 0, pair = 0;
  if (Q == SIGN_MAGNITUDE && greatest > 0) {
    u32 all = 0, lower = 0, upper = 0;
    for (u32 round = 0; round < ROUNDS + 2; round++) {
      Pair own{0, 0};
      UNROLL
      for (u32 j = 0; j < EACH; j++) {
        const u32 q = digits(magnitude(acc[j]), greatest);
        if ((mine >> j & 1) && q >= split) own = Pair{own.a + q, own.b + 1};
      }
      const Pair sum = reduce<false>(s, turn++, own);
      if (round == 0) {
        all = sum.a;
        split = all / entries;
        continue;
      }
      lower = mean(all - sum.a, entries - sum.b);
      upper = mean(sum.a, sum.b);
      if (round <= ROUNDS) split = (lower + upper + 1) / 2;
    }
    pair = half_of(upper, greatest) << 16 | half_of(lower, greatest);
  }
  // Times the nearest number to 1/127.
  const float step = multiply(bits_float(greatest), bits_float(0x3C010204u));
  if (t == 0 && Q == SIGN_MAGNITUDE) s.packed[0] = pair;
  if (t == 0 && Q == INT8) s.packed[0] = float_bits(step);

  // Codes of a word each go to their place at once; the words behind them are put together from the first on.
  u32* words = args.payload + u64(chunk) * layout.words;
  const u32 skipped = Q == NONE ? layout.lows_at : 0;
  if (Q == NONE)
    for (u32 i = entries + t; i < layout.k; i += BLOCK) words[layout.codes_at + i] = 0;
  UNROLL
  for (u32 j = 0; j < EACH; j++) {
    const u32 i = j * BLOCK + t;
    if (i >= place.n) continue;
    float rest = bits_float(acc[j]);
    if (mine >> j & 1) {
      const u32 nth = number(s, i), sign = acc[j] >> 31;
      float sent = rest;
      if (Q == SIGN_MAGNITUDE) {
        const u32 upper = greatest > 0 && digits(magnitude(acc[j]), greatest) >= split;
        put(s, 32 * layout.codes_at + 2 * nth, 2, upper << 1 | sign);
        sent = bits_float((upper ? pair & 0xFFFF0000u : pair << 16) | sign << 31);
      } else if (Q == INT8) {
        const u32 g = digits(greatest, greatest);
        const i32 count = greatest > 0 ? i32((254 * digits(magnitude(acc[j]), greatest) + g) / (2 * g)) : 0;
        const i32 steps = sign ? -count : count;
        put(s, 32 * layout.codes_at + 8 * nth, 8, u32(steps) & 0xFFu);
        sent = settle(multiply(float(steps), step));
      } else {
        words[layout.codes_at + nth] = acc[j];
      }
      rest = settle(add(rest, -sent));
      put(s, 32 * (layout.lows_at - skipped) + layout.low_bits * nth, layout.low_bits, i & ((1u << layout.low_bits) - 1));
      if (layout.fano) put(s, 32 * (layout.highs_at - skipped) + (i >> layout.low_bits) + nth, 1, 1);
    }
    args.out[place.at(args.geometry, i)] = rest;
  }
  sync_block();
  for (u32 w = skipped + t; w < layout.words; w += BLOCK) words[w] = s.packed[w - skipped];
}

KERNEL(topk_encode_signMagnitude, EncodeArgs, encode<SIGN_MAGNITUDE>(args))
KERNEL(topk_encode_int8, EncodeArgs, encode<INT8>(args))
KERNEL(topk_encode_none, EncodeArgs, encode<NONE>(args))
