// One 128 × 128 tile of a product, by a block of 256 threads: for bf16 and f16 on tensor cores (mma.sync, three stages
// of cp.async), for f32 with multiply-adds in f32 (never TF32), both with the same face:
//   SHARED                bytes of dynamic shared memory
//   run(a, b, k)          computes the product of the rows of op(a) and the columns of op(b)
//   acc[i][j]             the thread's 8 × 8 elements, at row(i), column(j) of the tile
//   slot()                the thread's number among the 16 that share its rows
// An operand is stored with the summed dimension k innermost ("k-major", leading dimension along the rows of the tile)
// or outermost. What lies outside a matrix counts as zero.
#pragma once
#include "mma.cuh"

constexpr u32 TILE = 128;
constexpr u32 SLOTS = 16;

struct Matrix {
  const void* p;
  u64 ld;
};

// The rows of a tile, or its columns: from where they begin, as many as there are.
struct Operand {
  const void* p;
  u64 ld;
  u32 rows;
  bool wide;  // Whether all pieces are aligned for 16-byte accesses.
};

template <class T, bool K_MAJOR>
DEVICE Operand operand(const T* p, u64 ld, u64 first, u64 rows) {
  const bool wide = address(p) % 16 == 0 && ld % VECTOR<T> == 0;
  return Operand{p + (K_MAJOR ? first * ld : first), ld, u32(least<u64>(rows - first, TILE)), wide};
}

template <class T, bool A_K_MAJOR, bool B_K_MAJOR>
struct TensorTile {
  static constexpr u32 DEPTH = 32, STAGES = 3;
  // Rows of shared memory are padded by 16 bytes, so that the eight rows of a fragment lie in different banks.
  static constexpr u32 K_STRIDE = DEPTH + 8, OUTER_STRIDE = TILE + 8;
  static constexpr u32 SLOT = TILE * K_STRIDE;  // Elements of one operand in one stage; the larger of the layouts.
  static constexpr u32 SHARED = STAGES * 2 * SLOT * sizeof(T);

  float acc[8][8];

  DEVICE static u32 lane() { return threadIdx.x % WARP; }
  DEVICE static u32 warp_row() { return threadIdx.x / WARP % 2 * 64; }
  DEVICE static u32 warp_column() { return threadIdx.x / WARP / 2 * 32; }
  DEVICE static u32 row(u32 i) { return warp_row() + i / 2 * 16 + i % 2 * 8 + lane() / 4; }
  DEVICE static u32 column(u32 j) { return warp_column() + j / 2 * 8 + lane() % 4 * 2 + j % 2; }
  DEVICE static u32 slot() { return threadIdx.x / WARP / 2 * 4 + lane() % 4; }

  // Fetches `DEPTH` of k from k0 on, of the rows of the tile: two pieces of 8 elements a thread.
  template <bool K_MAJOR>
  DEVICE static void fetch(T* shared, const Operand& x, u64 k0, u64 k) {
    const u32 depth = u32(least<u64>(k - k0, DEPTH));
    const T* from = static_cast<const T*>(x.p) + (K_MAJOR ? k0 : k0 * x.ld);
    UNROLL
    for (u32 half = 0; half < 2; half++) {
      const u32 piece = threadIdx.x + half * BLOCK;
      const u32 line = K_MAJOR ? piece / 4 : piece / 16, at = K_MAJOR ? piece % 4 * 8 : piece % 16 * 8;
      const u32 lines = K_MAJOR ? x.rows : depth, width = K_MAJOR ? depth : x.rows;
      const u32 valid = line < lines && at < width ? least<u32>(width - at, 8) : 0;
      const T* of = valid > 0 ? from + line * x.ld + at : static_cast<const T*>(x.p);
      T* to = shared + line * (K_MAJOR ? K_STRIDE : OUTER_STRIDE) + at;
      if (x.wide) {
        copy_async(to, of, valid * sizeof(T));
        continue;
      }
      Words4 words = {{0, 0, 0, 0}};
      UNROLL
      for (u32 e = 0; e < 8; e++)
        if (e < valid) words.w[e / 2] |= u32(of[e].bits) << (e % 2 * 16);
      store_wide(to, words);
    }
  }

  // Fragments of 16 × 16 of a, or of two neighbouring 16 × 8 of b: `first` counts along the rows of the tile, and the
  // matrices go first along `INNER_FIRST ? k : rows`.
  template <bool K_MAJOR, bool INNER_FIRST>
  DEVICE static void fragment(u32 (&r)[4], const T* shared, u32 first, u32 k) {
    const u32 l = lane(), low = l / 8 % 2 * 8, high = l / 16 * 8, along_k = INNER_FIRST ? low : high,
              along_rows = INNER_FIRST ? high : low;
    const T* at = K_MAJOR ? shared + (first + along_rows + l % 8) * K_STRIDE + k + along_k
                          : shared + (k + along_k + l % 8) * OUTER_STRIDE + first + along_rows;
    load_matrices<!K_MAJOR>(r, at);
  }

  DEVICE void multiply(const T* a, const T* b) {
    UNROLL
    for (u32 k = 0; k < DEPTH; k += 16) {
      u32 left[4][4], right[2][4];
      UNROLL
      for (u32 i = 0; i < 4; i++) fragment<A_K_MAJOR, false>(left[i], a, warp_row() + i * 16, k);
      UNROLL
      for (u32 j = 0; j < 2; j++) fragment<B_K_MAJOR, true>(right[j], b, warp_column() + j * 16, k);
      UNROLL
      for (u32 i = 0; i < 4; i++) {
        UNROLL
        for (u32 j = 0; j < 4; j++) {
          const u32 column[2] = {right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]};
          float c[4] = {acc[2 * i][2 * j], acc[2 * i][2 * j + 1], acc[2 * i + 1][2 * j], acc[2 * i + 1][2 * j + 1]};
          multiply_add(c, left[i], column, Of<T>());
          acc[2 * i][2 * j] = c[0];
          acc[2 * i][2 * j + 1] = c[1];
          acc[2 * i + 1][2 * j] = c[2];
          acc[2 * i + 1][2 * j + 1] = c[3];
        }
      }
    }
  }

  DEVICE void run(const Operand& a, const Operand& b, u64 k) {
    T* shared = reinterpret_cast<T*>(shared_memory());
    const u64 steps = (k + DEPTH - 1) / DEPTH;
    const auto load = [&](u64 step) {
      if (step < steps) {
        T* stage = shared + step % STAGES * 2 * SLOT;
        fetch<A_K_MAJOR>(stage, a, step * DEPTH, k);
        fetch<B_K_MAJOR>(stage + SLOT, b, step * DEPTH, k);
      }
      copy_async_commit();
    };
    UNROLL
    for (u32 i = 0; i < 8; i++) {
      UNROLL
      for (u32 j = 0; j < 8; j++) acc[i][j] = 0.0f;
    }
    UNROLL_BY(1)
    for (u64 step = 0; step < STAGES - 1; step++) load(step);
    for (u64 step = 0; step < steps; step++) {
      copy_async_wait<STAGES - 2>();
      sync_block();  // This stage has arrived for all, and all are done with the one that is loaded next.
      load(step + STAGES - 1);
      const T* stage = shared + step % STAGES * 2 * SLOT;
      multiply(stage, stage + SLOT);
    }
    copy_async_wait<0>();
    sync_block();
  }
};

template <bool A_K_MAJOR, bool B_K_MAJOR>
struct FloatTile {
  static constexpr u32 DEPTH = 16, STRIDE = TILE + 4;
  static constexpr u32 SLOT = DEPTH * STRIDE;  // Floats of one operand in one stage, k outermost.
  static constexpr u32 SHARED = 2 * 2 * SLOT * sizeof(float);

  float acc[8][8];

  DEVICE static u32 row(u32 i) { return i / 4 * 64 + threadIdx.x / 16 * 4 + i % 4; }
  DEVICE static u32 column(u32 j) { return j / 4 * 64 + threadIdx.x % 16 * 4 + j % 4; }
  DEVICE static u32 slot() { return threadIdx.x % 16; }

  // Two pieces of 4 elements a thread, on their way through registers.
  template <bool K_MAJOR>
  DEVICE static void fetch(float (&v)[2][4], const Operand& x, u64 k0, u64 k) {
    const u32 depth = u32(least<u64>(k - k0, DEPTH));
    const float* from = static_cast<const float*>(x.p) + (K_MAJOR ? k0 : k0 * x.ld);
    UNROLL
    for (u32 half = 0; half < 2; half++) {
      const u32 piece = threadIdx.x + half * BLOCK;
      const u32 line = K_MAJOR ? piece / 4 : piece / 32, at = K_MAJOR ? piece % 4 * 4 : piece % 32 * 4;
      const u32 lines = K_MAJOR ? x.rows : depth, width = K_MAJOR ? depth : x.rows;
      const u32 valid = line < lines && at < width ? least<u32>(width - at, 4) : 0;
      const float* of = valid > 0 ? from + line * x.ld + at : static_cast<const float*>(x.p);
      if (x.wide && valid == 4) {
        unpack<float>(load_wide<Words4>(of), v[half]);
      } else {
        UNROLL
        for (u32 e = 0; e < 4; e++) v[half][e] = e < valid ? of[e] : 0.0f;
      }
    }
  }

  template <bool K_MAJOR>
  DEVICE static void keep(float* shared, const float (&v)[2][4]) {
    UNROLL
    for (u32 half = 0; half < 2; half++) {
      const u32 piece = threadIdx.x + half * BLOCK;
      if (K_MAJOR) {
        UNROLL
        for (u32 e = 0; e < 4; e++) shared[(piece % 4 * 4 + e) * STRIDE + piece / 4] = v[half][e];
      } else {
        store_wide(shared + piece / 32 * STRIDE + piece % 32 * 4,
                   Words4{{float_bits(v[half][0]), float_bits(v[half][1]), float_bits(v[half][2]),
                           float_bits(v[half][3])}});
      }
    }
  }

  DEVICE static void load8(float (&v)[8], const float* line, u32 at) {
    UNROLL
    for (u32 half = 0; half < 2; half++) {
      float part[4];
      unpack<float>(load_wide<Words4>(line + half * 64 + at), part);
      UNROLL
      for (u32 e = 0; e < 4; e++) v[half * 4 + e] = part[e];
    }
  }

  DEVICE void multiply(const float* a, const float* b) {
    UNROLL_BY(4)
    for (u32 k = 0; k < DEPTH; k++) {
      float left[8], right[8];
      load8(left, a + k * STRIDE, threadIdx.x / 16 * 4);
      load8(right, b + k * STRIDE, threadIdx.x % 16 * 4);
      UNROLL
      for (u32 i = 0; i < 8; i++) {
        UNROLL
        for (u32 j = 0; j < 8; j++) acc[i][j] += left[i] * right[j];
      }
    }
  }

  DEVICE void run(const Operand& a, const Operand& b, u64 k) {
    float* shared = reinterpret_cast<float*>(shared_memory());
    const u64 steps = (k + DEPTH - 1) / DEPTH;
    float left[2][4], right[2][4];
    const auto load = [&](u64 step) {
      fetch<A_K_MAJOR>(left, a, step * DEPTH, k);
      fetch<B_K_MAJOR>(right, b, step * DEPTH, k);
    };
    const auto store = [&](u64 step) {
      float* stage = shared + step % 2 * 2 * SLOT;
      keep<A_K_MAJOR>(stage, left);
      keep<B_K_MAJOR>(stage + SLOT, right);
    };
    UNROLL
    for (u32 i = 0; i < 8; i++) {
      UNROLL
      for (u32 j = 0; j < 8; j++) acc[i][j] = 0.0f;
    }
    if (steps > 0) {
      load(0);
      store(0);
    }
    sync_block();
    for (u64 step = 0; step < steps; step++) {
      if (step + 1 < steps) load(step + 1);
      const float* stage = shared + step % 2 * 2 * SLOT;
      multiply(stage, stage + SLOT);
      if (step + 1 < steps) store(step + 1);
      sync_block();
    }
  }
};

template <class T, bool A_K_MAJOR, bool B_K_MAJOR>
struct TileOf {
  typedef TensorTile<T, A_K_MAJOR, B_K_MAJOR> Type;
};
template <bool A_K_MAJOR, bool B_K_MAJOR>
struct TileOf<float, A_K_MAJOR, B_K_MAJOR> {
  typedef FloatTile<A_K_MAJOR, B_K_MAJOR> Type;
};
