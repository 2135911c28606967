// Reductions of rows, or of consecutive segments, in a fixed order.
//
// A row is reduced by a team: a warp for short rows, a block for long ones, and several blocks (`parts`, the y dimension
// of the grid) for few very long ones, whose partial results a second kernel merges. Each thread streams its share into
// an accumulator, which has
//   take(values, index)   some elements of the row, the first with this index,
//   merge(other)          what another thread has; the same bits whichever of the two is `this`.
// An operation brings
//   Acc, start()          an empty accumulator,
//   span(row)             where the elements of a row begin, and how many there are; faults are found here,
//   read(acc, row, begin, n, lane, lanes)   gives elements to the accumulator,
//   finish(row, acc)      writes the result.
#pragma once
#include "common.cuh"

struct Team {
  u64 rows;
  void* partials;  // [rows, parts] accumulators, when there is more than one part.
  u32 size;        // Threads: 32 or 256.
  u32 parts;
};

template <class Acc>
DEVICE Acc shuffled(const Acc& acc, u32 mask) {
  union Words {
    Acc acc;
    u32 w[sizeof(Acc) / 4];
    DEVICE Words() {}
  };
  Words mine, theirs;
  mine.acc = acc;
  UNROLL
  for (u32 i = 0; i < sizeof(Acc) / 4; i++) theirs.w[i] = shuffle_xor(mine.w[i], mask);
  return theirs.acc;
}

template <class Acc>
DEVICE void merge_warp(Acc& acc) {
  UNROLL
  for (u32 mask = WARP / 2; mask > 0; mask /= 2) acc.merge(shuffled(acc, mask));
}

// Afterwards the first thread of the team has the sum of all.
template <class Acc>
DEVICE void merge_team(Acc& acc, u32 team) {
  merge_warp(acc);
  if (team == WARP) return;
  Acc* of_warp = reinterpret_cast<Acc*>(shared_memory());
  if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = acc;
  sync_block();
  if (threadIdx.x == 0) {
    for (u32 w = 1; w < BLOCK / WARP; w++) acc.merge(of_warp[w]);
  }
  sync_block();  // Before the next row writes there.
}

template <class Op>
DEVICE void reduce_rows(const Op& op, const Team& team) {
  typedef typename Op::Acc Acc;
  const u32 lane = threadIdx.x % team.size, of_block = BLOCK / team.size;
  const u64 step = u64(gridDim.x) * of_block;
  for (u64 row = u64(blockIdx.x) * of_block + threadIdx.x / team.size; row < team.rows; row += step) {
    Acc acc = op.start();
    const auto span = op.span(row);
    const u64 share = (span.n + team.parts - 1) / team.parts;
    const u64 begin = least<u64>(share * blockIdx.y, span.n), end = least<u64>(begin + share, span.n);
    op.read(acc, row, span.begin, begin, end - begin, lane, team.size);
    merge_team(acc, team.size);
    if (lane != 0) continue;
    if (team.parts == 1)
      op.finish(row, span.n, acc);
    else
      static_cast<Acc*>(team.partials)[row * team.parts + blockIdx.y] = acc;
  }
}

// The second kernel, a thread a row.
template <class Op>
DEVICE void merge_rows(const Op& op, const Team& team) {
  typedef typename Op::Acc Acc;
  const u64 threads = u64(gridDim.x) * BLOCK;
  for (u64 row = u64(blockIdx.x) * BLOCK + threadIdx.x; row < team.rows; row += threads) {
    const Acc* partials = static_cast<const Acc*>(team.partials) + row * team.parts;
    Acc acc = partials[0];
    for (u32 part = 1; part < team.parts; part++) acc.merge(partials[part]);
    op.finish(row, op.span(row).n, acc);
  }
}

struct Span {
  u64 begin;
  u64 n;
};

// Segments that offsets cut. One whose offsets do not ascend, or lead beyond the n values, is a fault, and empty.
struct Segments {
  const u32* offsets;
  u32* status;
  u64 n;
  u32 is_signed;

  DEVICE bool sound(u64 row) const {
    const u64 begin = index_at(offsets, row, is_signed), end = index_at(offsets, row + 1, is_signed);
    return begin <= end && end <= n;
  }
  DEVICE Span span(u64 row) const {
    const u64 begin = index_at(offsets, row, is_signed);
    return sound(row) ? Span{begin, index_at(offsets, row + 1, is_signed) - begin} : Span{0, 0};
  }
};

// ------------------------------------------------------------------------------------------------ accumulators

struct Sum {
  double sum;
  template <u32 N>
  DEVICE void take(const float (&v)[N], u64) {
    UNROLL
    for (u32 i = 0; i < N; i++) sum += double(v[i]);
  }
  DEVICE void merge(const Sum& other) { sum += other.sum; }
  DEVICE static Sum start() { return Sum{0.0}; }
  DEVICE float result() const { return float(sum); }
};

// Squares of f32 are exact in f64.
struct SumSquares {
  double sum;
  template <u32 N>
  DEVICE void take(const float (&v)[N], u64) {
    UNROLL
    for (u32 i = 0; i < N; i++) sum += double(v[i]) * double(v[i]);
  }
  DEVICE void merge(const SumSquares& other) { sum += other.sum; }
  DEVICE static SumSquares start() { return SumSquares{0.0}; }
  DEVICE float result() const { return float(sum); }
};

struct Max {
  float max;
  template <u32 N>
  DEVICE void take(const float (&v)[N], u64) {
    UNROLL
    for (u32 i = 0; i < N; i++) max = max_nan(max, v[i]);
  }
  // The sign of a zero goes by the threads' numbers otherwise.
  DEVICE void merge(const Max& other) {
    max = max == 0.0f && other.max == 0.0f ? max + other.max : max_nan(max, other.max);
  }
  DEVICE static Max start() { return Max{-infinity()}; }
  DEVICE float result() const { return max; }
};

constexpr float LOG2_E = 1.44269504088896340736f;

// Maximum and sum of exponentials relative to it, in one pass (Milakov and Gimelshein 2018). A NaN takes over both; of
// nothing, or negative infinities alone, the maximum is negative infinity and the sum 0.
struct LogSum {
  float max;
  float sum;

  // Differences to the maximum are exact where it matters; to that of nothing they would be NaN.
  DEVICE static float base(float max) { return max == -infinity() ? 0.0f : max; }

  template <u32 N>
  DEVICE void take(const float (&v)[N], u64) {
    float greatest = max;
    UNROLL
    for (u32 i = 0; i < N; i++) greatest = max_nan(greatest, v[i]);
    const float b = base(greatest);
    if (greatest != max) {
      sum *= exp2_approx((max - b) * LOG2_E);
      max = greatest;
    }
    float part = 0.0f;
    UNROLL
    for (u32 i = 0; i < N; i++) part += exp2_approx((v[i] - b) * LOG2_E);
    sum += part;
  }
  DEVICE void merge(const LogSum& other) {
    const float greatest = max_nan(max, other.max), b = base(greatest);
    sum = sum * exp2_approx((max - b) * LOG2_E) + other.sum * exp2_approx((other.max - b) * LOG2_E);
    max = greatest;
  }
  DEVICE static LogSum start() { return LogSum{-infinity(), 0.0f}; }
  // Relative to `z`, so that a great maximum costs no digits.
  DEVICE float above(float z) const { return (max - z) + logf(sum); }
};
