// attention: causal, within documents, with the softmax as it goes (Dao 2023, FlashAttention-2).
//
// A block takes a tile of rows of a document with one head, and goes over the keys up to its last row, some at a time.
// Tiles count from where the document begins, and nothing of a row depends on what else is in a tile: the bits of a
// document are the same in every batch. Documents take tiles that nobody counts: document d has those from
// begin / rows + d on, which are enough whatever the lengths are.
//
// For bf16 and f16 a warp has 16 rows: products on tensor cores, scores, weights and sums in registers; weights are
// rounded to the type before they meet the values. For f32 four threads share a row, with multiply-adds in f32.
#include "mma.cuh"
#include "reduce.cuh"

struct AttentionArgs {
  const void* q;
  const void* k;
  const void* v;
  void* out;
  Segments segments;
  u64 documents;
  u32 heads;
  u32 group;  // Heads of queries for each of keys.
  u32 d;
  float scale;  // Times log2(e): weights are powers of two.
};

DEVICE void check(const AttentionArgs& args) {
  const u64 threads = u64(gridDim.x) * BLOCK;
  for (u64 document = u64(blockIdx.x) * BLOCK + threadIdx.x; document < args.documents; document += threads)
    if (!args.segments.sound(document)) report_fault(args.segments.status, document);
}

// The rows of a block: none, if begin is end.
struct Rows {
  u64 document;  // Where it begins.
  u64 begin;
  u64 end;
};

template <u32 TILE_ROWS>
DEVICE Rows rows_of(const AttentionArgs& args) {
  const Segments& s = args.segments;
  const auto first_tile = [&](u64 document) { return index_at(s.offsets, document, s.is_signed) / TILE_ROWS + document; };
  // The last document whose first tile is not behind this one.
  u64 low = 0, high = args.documents;
  while (low + 1 < high) {
    const u64 middle = (low + high) / 2;
    if (first_tile(middle) <= blockIdx.x)
      low = middle;
    else
      high = middle;
  }
  if (!s.sound(low) || first_tile(low) > blockIdx.x) return Rows{0, 0, 0};
  const Span span = s.span(low);
  const u64 row = (blockIdx.x - first_tile(low)) * TILE_ROWS;
  if (row >= span.n) return Rows{0, 0, 0};
  return Rows{span.begin, span.begin + row, span.begin + least<u64>(row + TILE_ROWS, span.n)};
}

// Brings rows of a head to shared memory, `SIZE` components and a gap each; what is not there is zero.
template <u32 SIZE, u32 STRIDE, class T>
DEVICE void fetch(T* shared, u32 lines, const void* x, u64 first, u64 end, u64 columns, u32 at, u32 d) {
  constexpr u32 PIECES = SIZE / VECTOR<T>;
  const bool wide = address(x) % 16 == 0 && columns % VECTOR<T> == 0 && at % VECTOR<T> == 0;
  for (u32 i = threadIdx.x; i < lines * PIECES; i += BLOCK) {
    const u32 line = i / PIECES, component = i % PIECES * VECTOR<T>;
    const u32 valid = first + line < end && component < d ? least<u32>(d - component, VECTOR<T>) : 0;
    const T* from = static_cast<const T*>(x) + (valid ? (first + line) * columns + at + component : 0);
    T* to = shared + line * STRIDE + component;
    if (wide) {
      copy_async(to, from, valid * sizeof(T));
      continue;
    }
    UNROLL
    for (u32 e = 0; e < VECTOR<T>; e++) to[e] = e < valid ? from[e] : T();
  }
}

// Afterwards all threads see what all have fetched.
DEVICE void fetched() {
  copy_async_commit();
  copy_async_wait<0>();
  sync_block();
}

DEVICE float shuffled_float(float x, u32 mask) { return bits_float(shuffle_xor(float_bits(x), mask)); }

// ------------------------------------------------------------------------------------------------ bf16 and f16

DEVICE u32 packed(float a, float b, Of<bf16>) { return u32(bf16_bits(a)) | u32(bf16_bits(b)) << 16; }
DEVICE u32 packed(float a, float b, Of<f16>) { return u32(f16_bits(a)) | u32(f16_bits(b)) << 16; }

template <class T, u32 SIZE, u32 KEYS>
struct Half {
  static constexpr u32 ROWS = 128, STRIDE = SIZE + 8;

  // The rows of a thread are two: lane / 4 of its warp's 16, and 8 further.
  float sums[SIZE / 8][4];
  float most[2], total[2];

  DEVICE static u32 lane() { return threadIdx.x % WARP; }

  // Scores of the warp's rows for the keys of a tile.
  DEVICE static void score(float (&scores)[KEYS / 8][4], const T* q, const T* k) {
    const u32 l = lane(), low = l / 8 % 2 * 8, high = l / 16 * 8;
    UNROLL
    for (u32 j = 0; j < KEYS / 8; j++) {
      UNROLL
      for (u32 e = 0; e < 4; e++) scores[j][e] = 0.0f;
    }
    UNROLL
    for (u32 i = 0; i < SIZE; i += 16) {
      u32 left[4];
      load_matrices<false>(left, q + (low + l % 8) * STRIDE + i + high);
      UNROLL
      for (u32 j = 0; j < KEYS / 16; j++) {
        u32 right[4];
        load_matrices<false>(right, k + (j * 16 + high + l % 8) * STRIDE + i + low);
        const u32 first[2] = {right[0], right[1]}, second[2] = {right[2], right[3]};
        multiply_add(scores[2 * j], left, first, Of<T>());
        multiply_add(scores[2 * j + 1], left, second, Of<T>());
      }
    }
  }

  // Makes weights of scores; `seen` is how many of the keys each of the two rows sees.
  DEVICE void weigh(float (&scores)[KEYS / 8][4], float scale, const u32 (&seen)[2]) {
    UNROLL
    for (u32 r = 0; r < 2; r++) {
      float greatest = most[r];
      UNROLL
      for (u32 j = 0; j < KEYS / 8; j++) {
        UNROLL
        for (u32 e = 0; e < 2; e++) {
          float& score = scores[j][2 * r + e];
          score = j * 8 + lane() % 4 * 2 + e < seen[r] ? score * scale : -infinity();
          greatest = max_nan(greatest, score);
        }
      }
      greatest = max_nan(greatest, shuffled_float(greatest, 1));
      greatest = max_nan(greatest, shuffled_float(greatest, 2));
      const float factor = exp2_approx(most[r] - LogSum::base(greatest));
      float part = 0.0f;
      UNROLL
      for (u32 j = 0; j < KEYS / 8; j++) {
        UNROLL
        for (u32 e = 0; e < 2; e++) {
          float& score = scores[j][2 * r + e];
          score = exp2_approx(score - LogSum::base(greatest));
          part += score;
        }
      }
      total[r] = total[r] * factor + part;
      most[r] = greatest;
      UNROLL
      for (u32 j = 0; j < SIZE / 8; j++) {
        sums[j][2 * r] *= factor;
        sums[j][2 * r + 1] *= factor;
      }
    }
  }

  // Adds the values that the weights weigh.
  DEVICE void add(const float (&weights)[KEYS / 8][4], const T* v) {
    const u32 l = lane(), low = l / 8 % 2 * 8, high = l / 16 * 8;
    UNROLL
    for (u32 i = 0; i < KEYS / 16; i++) {
      const float(&a)[4] = weights[2 * i];
      const float(&b)[4] = weights[2 * i + 1];
      const u32 left[4] = {packed(a[0], a[1], Of<T>()), packed(a[2], a[3], Of<T>()), packed(b[0], b[1], Of<T>()),
                           packed(b[2], b[3], Of<T>())};
      UNROLL
      for (u32 j = 0; j < SIZE / 16; j++) {
        u32 right[4];
        load_matrices<true>(right, v + (i * 16 + low + l % 8) * STRIDE + j * 16 + high);
        const u32 first[2] = {right[0], right[1]}, second[2] = {right[2], right[3]};
        multiply_add(sums[2 * j], left, first, Of<T>());
        multiply_add(sums[2 * j + 1], left, second, Of<T>());
      }
    }
  }

  DEVICE void run(const AttentionArgs& args) {
    const Rows rows = rows_of<ROWS>(args);
    if (rows.begin == rows.end) return;
    const u32 head = blockIdx.y, of_kv = head / args.group * args.d;
    const u64 columns = u64(args.heads) * args.d, kv_columns = columns / args.group;
    T* q = reinterpret_cast<T*>(shared_memory());
    T* k = q + ROWS * STRIDE;
    T* v = k + KEYS * STRIDE;
    fetch<SIZE, STRIDE>(q, ROWS, args.q, rows.begin, rows.end, columns, head * args.d, args.d);
    UNROLL
    for (u32 r = 0; r < 2; r++) {
      most[r] = -infinity();
      total[r] = 0.0f;
    }
    UNROLL
    for (u32 j = 0; j < SIZE / 8; j++) {
      UNROLL
      for (u32 e = 0; e < 4; e++) sums[j][e] = 0.0f;
    }
    const u64 of_warp = rows.begin + threadIdx.x / WARP * 16, row = of_warp + lane() / 4;
    for (u64 key = rows.document; key < rows.end; key += KEYS) {
      if (key > rows.document) sync_block();  // All are done with the tile before.
      fetch<SIZE, STRIDE>(k, KEYS, args.k, key, rows.end, kv_columns, of_kv, args.d);
      fetch<SIZE, STRIDE>(v, KEYS, args.v, key, rows.end, kv_columns, of_kv, args.d);
      fetched();
      // Beyond the last key that a row of the warp sees there is nothing to do.
      if (key >= of_warp + 16) continue;
      float scores[KEYS / 8][4];
      score(scores, q + threadIdx.x / WARP * 16 * STRIDE, k);
      const auto seen = [&](u64 row) { return row < key ? 0u : u32(least<u64>(row + 1 - key, KEYS)); };
      const u32 both[2] = {seen(row), seen(row + 8)};
      weigh(scores, args.scale, both);
      add(scores, v);
    }
    UNROLL
    for (u32 r = 0; r < 2; r++) {
      total[r] += shuffled_float(total[r], 1);
      total[r] += shuffled_float(total[r], 2);
      if (row + 8 * r >= rows.end) continue;
      T* out = static_cast<T*>(args.out) + (row + 8 * r) * columns + head * args.d;
      const float inverse = 1.0f / total[r];
      UNROLL
      for (u32 j = 0; j < SIZE / 8; j++) {
        UNROLL
        for (u32 e = 0; e < 2; e++) {
          const u32 column = j * 8 + lane() % 4 * 2 + e;
          if (column < args.d) out[column] = from_float<T>(sums[j][2 * r + e] * inverse);
        }
      }
    }
  }
};

// ------------------------------------------------------------------------------------------------ f32

template <u32 SIZE, u32 KEYS>
struct Single {
  static constexpr u32 ROWS = 64, LANES = 4, STRIDE = SIZE + 4, EACH = KEYS / LANES;

  DEVICE static void load4(float (&v)[4], const float* at) { unpack<float>(load_wide<Words4>(at), v); }

  DEVICE static void run(const AttentionArgs& args) {
    const Rows rows = rows_of<ROWS>(args);
    if (rows.begin == rows.end) return;
    const u32 head = blockIdx.y, of_kv = head / args.group * args.d;
    const u64 columns = u64(args.heads) * args.d, kv_columns = columns / args.group;
    float* q = reinterpret_cast<float*>(shared_memory());
    float* kv = q + ROWS * STRIDE;
    float* weights = kv + KEYS * STRIDE;  // [ROWS, KEYS + 1]
    const u32 own = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    const u64 row = rows.begin + own;
    fetch<SIZE, STRIDE>(q, ROWS, args.q, rows.begin, rows.end, columns, head * args.d, args.d);
    float most = -infinity(), total = 0.0f, sums[SIZE / 16][4];
    UNROLL
    for (u32 j = 0; j < SIZE / 16; j++) {
      UNROLL
      for (u32 e = 0; e < 4; e++) sums[j][e] = 0.0f;
    }
    for (u64 key = rows.document; key < rows.end; key += KEYS) {
      if (key > rows.document) sync_block();  // All are done with the tile before.
      fetch<SIZE, STRIDE>(kv, KEYS, args.k, key, rows.end, kv_columns, of_kv, args.d);
      fetched();
      float scores[EACH];
      UNROLL
      for (u32 j = 0; j < EACH; j++) scores[j] = 0.0f;
      UNROLL_BY(2)
      for (u32 i = 0; i < SIZE; i += 4) {
        float a[4];
        load4(a, q + own * STRIDE + i);
        UNROLL
        for (u32 j = 0; j < EACH; j++) {
          float b[4];
          load4(b, kv + (j * LANES + lane) * STRIDE + i);
          UNROLL
          for (u32 e = 0; e < 4; e++) scores[j] += a[e] * b[e];
        }
      }
      sync_block();
      fetch<SIZE, STRIDE>(kv, KEYS, args.v, key, rows.end, kv_columns, of_kv, args.d);
      float greatest = most;
      UNROLL
      for (u32 j = 0; j < EACH; j++) {
        scores[j] = key + j * LANES + lane <= row ? scores[j] * args.scale : -infinity();
        greatest = max_nan(greatest, scores[j]);
      }
      greatest = max_nan(greatest, shuffled_float(greatest, 1));
      greatest = max_nan(greatest, shuffled_float(greatest, 2));
      const float factor = exp2_approx(most - LogSum::base(greatest));
      float part = 0.0f;
      UNROLL
      for (u32 j = 0; j < EACH; j++) {
        const float weight = exp2_approx(scores[j] - LogSum::base(greatest));
        weights[own * (KEYS + 1) + j * LANES + lane] = weight;
        part += weight;
      }
      total = total * factor + part;
      most = greatest;
      UNROLL
      for (u32 j = 0; j < SIZE / 16; j++) {
        UNROLL
        for (u32 e = 0; e < 4; e++) sums[j][e] *= factor;
      }
      fetched();
      UNROLL_BY(2)
      for (u32 i = 0; i < KEYS; i++) {
        const float weight = weights[own * (KEYS + 1) + i];
        UNROLL
        for (u32 j = 0; j < SIZE / 16; j++) {
          float b[4];
          load4(b, kv + i * STRIDE + (j * LANES + lane) * 4);
          UNROLL
          for (u32 e = 0; e < 4; e++) sums[j][e] += weight * b[e];
        }
      }
    }
    total += shuffled_float(total, 1);
    total += shuffled_float(total, 2);
    if (row >= rows.end) return;
    float* out = static_cast<float*>(args.out) + row * columns + head * args.d;
    const float inverse = 1.0f / total;
    UNROLL
    for (u32 j = 0; j < SIZE / 16; j++) {
      UNROLL
      for (u32 e = 0; e < 4; e++) {
        const u32 column = (j * LANES + lane) * 4 + e;
        if (column < args.d) out[column] = sums[j][e] * inverse;
      }
    }
  }
};

template <class T, u32 SIZE, u32 KEYS>
DEVICE void half(const AttentionArgs& args) {
  Half<T, SIZE, KEYS> tile;
  tile.run(args);
}

KERNEL(attention_check, AttentionArgs, check(args))
KERNEL(attention_64_f32, AttentionArgs, (Single<64, 32>::run(args)))
KERNEL(attention_128_f32, AttentionArgs, (Single<128, 32>::run(args)))
KERNEL(attention_256_f32, AttentionArgs, (Single<256, 16>::run(args)))
#define HALVES(type, T)                                                \
  KERNEL(attention_64_##type, AttentionArgs, (half<T, 64, 64>(args)))   \
  KERNEL(attention_128_##type, AttentionArgs, (half<T, 128, 64>(args))) \
  KERNEL(attention_256_##type, AttentionArgs, (half<T, 256, 16>(args)))
HALVES(bf16, bf16)
HALVES(f16, f16)
