// Numbers and bits of payloads, as the core's `payload` module defines them: every product and sum is rounded by itself, so
// nothing may be fused.
#pragma once
#include "exact.cuh"

#ifdef GRISTMILL_HOST
DEVICE u32 population(u32 x) { return u32(__builtin_popcount(x)); }
#else
DEVICE u32 population(u32 x) { return u32(__popc(x)); }
#endif

constexpr u32 SMALLEST = 0x21800000u, LARGEST = 0x4E800000u;  // 2^-60 and 2^30.

DEVICE u32 magnitude(u32 bits) { return bits & 0x7FFFFFFFu; }

// +0 where the magnitude is below the smallest; NaN stays.
DEVICE float settle(float x) { return magnitude(float_bits(x)) < SMALLEST ? 0.0f : x; }

DEVICE bool bounded(u32 bits, u32 least_bits) { return bits == 0 || (bits >= least_bits && bits <= LARGEST); }
DEVICE bool is_value(u32 bits) { return bits == 0 || (magnitude(bits) >= SMALLEST && magnitude(bits) <= LARGEST); }
DEVICE bool are_magnitudes(u32 word) {
  const u32 low = word << 16, high = word & 0xFFFF0000u;
  return bounded(low, SMALLEST) && bounded(high, SMALLEST) && low <= high;
}
DEVICE bool is_step(u32 word) { return bounded(word, SMALLEST - (7u << 23)); }

enum Quantizer { SIGN_MAGNITUDE, REFERENCE, INT8, NONE };
constexpr u32 code_bits(int q) { return q == INT8 ? 8 : q == NONE ? 32 : 2; }

struct Geometry {
  u32 rows, columns, block_rows, block_columns, across, chunks;
};

struct Layout {
  u32 k, low_bits, codes_at, lows_at, highs_at, words, fano, tensor_words;
};

// Where a chunk lies, how wide it is and how many elements it has.
struct Place {
  u32 row, column, width, n;
  DEVICE Place(const Geometry& g, u32 chunk) {
    row = chunk / g.across * g.block_rows;
    column = chunk % g.across * g.block_columns;
    width = least(g.block_columns, g.columns - column);
    n = least(g.block_rows, g.rows - row) * width;
  }
  DEVICE u64 at(const Geometry& g, u32 position) const {
    return u64(row + position / width) * g.columns + column + position % width;
  }
};
