// Rows that name rows of a table. Rows with the same id are linked, each to the next, so that what they add up to is
// found in their order, without atomics and without a table in memory.
#pragma once
#include "reduce.cuh"

constexpr u32 NONE = 0xFFFFFFFFu;

struct Tables {
  Segments segments;  // Samples, of `rows` rows.
  const u32* ids;
  u32* next;     // [rows] The next row with the same id, or NONE.
  u32* samples;  // [rows] The sample of the row, NONE of nobody's and padding, with HEAD for the first of a chain.
  u64 samples_all;
  u64 vocabulary;
  u32 ids_signed;
  u32 padding;  // NONE where there is none.

  // The end of a sample within the rows, wherever it is said to end.
  DEVICE u64 bound(u64 sample) const { return least(index_at(segments.offsets, sample, segments.is_signed), segments.n); }
  DEVICE u64 id(u64 row) const { return index_at(ids, row, ids_signed); }

  // The sample that has a row, or NONE: the last that begins at it or before, if it does not end before.
  DEVICE u32 sample_of(u64 row) const {
    u64 low = 0, high = samples_all;
    while (low < high) {
      const u64 middle = (low + high) / 2;
      if (bound(middle) <= row)
        low = middle + 1;
      else
        high = middle;
    }
    if (low == 0 || row >= bound(low)) return NONE;
    return u32(low - 1);
  }
};

constexpr u32 HEAD = 0x80000000u;

// Links the rows of each sample, or (whole) of all samples; a thread a row.
template <bool whole>
DEVICE void link_rows(const Tables& t) {
  const u64 threads = u64(gridDim.x) * BLOCK, first = u64(blockIdx.x) * BLOCK + threadIdx.x;
  for (u64 sample = first; sample < t.samples_all; sample += threads)
    if (!t.segments.sound(sample)) report_fault(t.segments.status, t.segments.n + sample);
  for (u64 row = first; row < t.segments.n; row += threads) {
    const u64 id = t.id(row);
    if (id >= t.vocabulary) report_fault(t.segments.status, row);
    const u32 sample = id < t.vocabulary && id != t.padding ? t.sample_of(row) : NONE;
    t.samples[row] = NONE;
    t.next[row] = NONE;
    if (sample == NONE) continue;
    const u64 begin = t.bound(whole ? 0 : sample), end = t.bound(whole ? t.samples_all : sample + 1);
    bool head = true;
    for (u64 other = begin; head && other < row; other++) head = t.id(other) != id;
    t.samples[row] = sample | (head ? HEAD : 0u);
    for (u64 other = row + 1; other < end; other++) {
      if (t.id(other) != id) continue;
      t.next[row] = u32(other);
      break;
    }
  }
}

DEVICE bool is_head(u32 sample) { return sample != NONE && (sample & HEAD) != 0; }

// Adds a number for each row up over each sample; a block a sample.
DEVICE void sum_samples(const Tables& t, const double* terms, float* out) {
  for (u64 sample = blockIdx.x; sample < t.samples_all; sample += gridDim.x) {
    const Span span = t.segments.span(sample);
    Sum acc = Sum::start();
    for (u64 i = threadIdx.x; i < span.n; i += BLOCK) acc.sum += terms[span.begin + i];
    merge_team(acc, BLOCK);
    if (threadIdx.x == 0) out[sample] = acc.result();
  }
}
