// The norms of gradients from the products of rows with each other: see PerSampleNorms of the core. Four kernels:
//   means    of each sample and column a number about the mean, and what the rows leave;
//   centre   rows less the mean, each divided by a power of two so that no product of two vanishes or overflows, and their
//            products with two vectors;
//   products tiles of X X' and dY dY' of the same rows, multiplied with each other in registers;
//   terms    all terms of each sample; one whose terms cancel is listed, to be made directly.
// Tiles are of all rows, whichever samples those are of, so that many short samples share one; what is not of one sample
// is left out.
//
// bf16 and f16 stay what they are, for tensor cores. So a mean is taken off a column only where that is exact, which it is
// for numbers within a factor of two of each other: those that have much in common. The rest have 0 for a mean, and cost
// digits that are there, or are noticed as terms that cancel.
#pragma once
#include "linear_grad.cuh"

// Blocks that share the tiles of some rows.
constexpr u32 SPLIT = 8;
// Columns whose products are added up by a tile; more are added in f32, rounded to the nearest. Tensor cores cut off.
constexpr u64 DEEP = 512;
// How large the magnitudes of all terms may be beside their sum; beyond, rounding could make the norm too small.
constexpr double CANCELLED = 16.0;
constexpr u32 NOBODY = ~0u;

// One side of the layer.
struct Side {
  const void* from;  // [rows, columns]
  void* to;          // [rows, stride]: less the mean, divided, with zeros behind the columns.
  float* mean;       // [samples, columns]
  float* other;      // [samples, columns]: of x the sums of the rows, of dy the sums of the rows less the mean.
  double* products;  // [rows, 2]: those of each row, less the mean and not divided, with `mean` and `other`.
  u64 columns;
  u64 stride;
};

struct GramArgs {
  Layer layer;
  Side x;
  Side dy;
  u32* begins;       // [rows]: where the sample of a row begins.
  i32* exponents;    // [rows]: of the powers of two by which a row of x and one of dy were divided, together.
  double* weights;   // [rows]: that power.
  double* partials;  // [rows, SPLIT, 2]: sums of terms, and of their magnitudes.
  u32* list;         // How many samples are to be made directly, and which.
  float* out;
  u64 bias;
};

DEVICE bool finite(float x) { return x - x == 0.0f; }
DEVICE float absolute(float x) { return bits_float(float_bits(x) & 0x7FFFFFFFu); }
// A power of two among the normal numbers.
DEVICE float power(i32 exponent) { return bits_float(u32(exponent + 127) << 23); }

// Whether `x - mean` is a number of its type; f32 is rounded.
DEVICE bool is_exact(float, float, Of<float>) { return true; }
template <class T>
DEVICE bool is_exact(float x, float mean, Of<T>) {
  const float rest = to_float(from_float<T>(x - mean));
  return double(x) - double(mean) == double(rest);
}

// Of 32 columns of one side, each of which eight threads share.
template <class T>
DEVICE void find_means(const GramArgs& args) {
  if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) args.list[0] = 0;
  const u64 of_x = (args.x.columns + WARP - 1) / WARP;
  const bool is_x = blockIdx.x < of_x;
  const Side& side = is_x ? args.x : args.dy;
  const u32 lane = threadIdx.x % WARP;
  const u64 column = (is_x ? blockIdx.x : blockIdx.x - of_x) * WARP + lane;
  double* sums = reinterpret_cast<double*>(shared_memory());
  u32* exact = reinterpret_cast<u32*>(sums + BLOCK);
  for (u64 sample = blockIdx.y; sample < args.layer.samples; sample += gridDim.y) {
    const Span rows = args.layer.segments.span(sample);
    const u64 n = column < side.columns ? rows.n : 0;
    const T* from = static_cast<const T*>(side.from) + rows.begin * side.columns + column;
    double sum = 0.0;
    for (u64 row = threadIdx.x / WARP; row < n; row += BLOCK / WARP) sum += double(to_float(from[row * side.columns]));
    sums[threadIdx.x] = sum;
    sync_block();
    sum = 0.0;
    UNROLL
    for (u32 i = 0; i < BLOCK / WARP; i++) sum += sums[i * WARP + lane];
    float mean = to_float(from_float<T>(float(sum / double(rows.n))));
    bool all = finite(mean);
    for (u64 row = threadIdx.x / WARP; row < n && all; row += BLOCK / WARP)
      all = is_exact(to_float(from[row * side.columns]), mean, Of<T>());
    exact[threadIdx.x] = all;
    sync_block();
    UNROLL
    for (u32 i = 0; i < BLOCK / WARP; i++) all = all && exact[i * WARP + lane];
    if (!all) mean = 0.0f;
    if (threadIdx.x < WARP && n > 0) {
      side.mean[sample * side.columns + column] = mean;
      side.other[sample * side.columns + column] = float(is_x ? sum : sum - double(n) * double(mean));
    }
  }
}

struct Products {
  double mean;
  double other;
  DEVICE void merge(const Products& x) {
    mean += x.mean;
    other += x.other;
  }
};

// What the first thread has.
template <class V>
DEVICE V of_first(V value) {
  V* shared = reinterpret_cast<V*>(shared_memory());
  if (threadIdx.x == 0) *shared = value;
  sync_block();
  value = *shared;
  sync_block();
  return value;
}

// f16 has so few powers of two that products in f32 neither vanish nor overflow.
DEVICE i32 exponent_of(float, Of<f16>) { return 0; }
template <class T>
DEVICE i32 exponent_of(float greatest, Of<T>) {
  if (greatest == 0.0f || !finite(greatest)) return 0;
  const i32 biased = i32(float_bits(greatest) >> 23);
  return biased == 0 ? -126 : biased - 127;
}

// One row of one side; gives the exponent of what it was divided by.
template <class T>
DEVICE i32 centre(const Side& side, u64 row, u64 sample) {
  const T* from = static_cast<const T*>(side.from) + row * side.columns;
  T* to = static_cast<T*>(side.to) + row * side.stride;
  const float* mean = side.mean + sample * side.columns;
  const float* other = side.other + sample * side.columns;
  Max greatest{0.0f};
  for (u64 i = threadIdx.x; i < side.columns; i += BLOCK)
    greatest.max = max_nan(greatest.max, absolute(to_float(from[i]) - mean[i]));
  merge_team(greatest, BLOCK);
  const i32 exponent = exponent_of(of_first(greatest.max), Of<T>());
  // In two steps, each of which is a normal number.
  const float half = power(-exponent / 2), rest = power(-exponent - -exponent / 2);
  Products products{0.0, 0.0};
  for (u64 i = threadIdx.x; i < side.stride; i += BLOCK) {
    const bool inside = i < side.columns;
    const T value = from_float<T>(inside ? (to_float(from[i]) - mean[i]) * half * rest : 0.0f);
    to[i] = value;
    if (!inside) continue;
    products.mean += double(to_float(value)) * double(mean[i]);
    products.other += double(to_float(value)) * double(other[i]);
  }
  merge_team(products, BLOCK);
  if (threadIdx.x == 0) {
    side.products[2 * row] = products.mean * double(power(exponent));
    side.products[2 * row + 1] = products.other * double(power(exponent));
  }
  return exponent;
}

// The sample that a row is of, or `samples`; some sample, or none, where offsets do not ascend.
DEVICE u64 sample_of(const Layer& layer, u64 row) {
  const Segments& segments = layer.segments;
  u64 low = 0, high = layer.samples;
  while (low < high) {
    const u64 middle = (low + high) / 2;
    if (index_at(segments.offsets, middle, segments.is_signed) <= row)
      low = middle + 1;
    else
      high = middle;
  }
  if (low == 0) return layer.samples;
  const Span rows = segments.span(low - 1);
  return row >= rows.begin && row - rows.begin < rows.n ? low - 1 : layer.samples;
}

template <class T>
DEVICE void centre_rows(const GramArgs& args) {
  for (u64 row = blockIdx.x; row < args.layer.segments.n; row += gridDim.x) {
    const u64 sample = sample_of(args.layer, row);
    const bool somebody = sample < args.layer.samples;
    i32 of_x = 0, of_dy = 0;
    if (somebody) {
      of_x = centre<T>(args.x, row, sample);
      of_dy = centre<T>(args.dy, row, sample);
    }
    if (threadIdx.x != 0) continue;
    args.begins[row] = somebody ? u32(args.layer.segments.span(sample).begin) : NOBODY;
    args.exponents[row] = of_x + of_dy;
    args.weights[row] = double(power(of_x)) * double(power(of_dy));
  }
}

// Where the first of the samples of the rows of a tile begins.
DEVICE u32 first_of(const GramArgs& args, u64 row0) {
  const u64 row = row0 + threadIdx.x % TILE;
  u32 first = row < args.layer.segments.n ? args.begins[row] : NOBODY;
  UNROLL
  for (u32 mask = WARP / 2; mask > 0; mask /= 2) first = least(first, shuffle_xor(first, mask));
  u32* of_warps = reinterpret_cast<u32*>(shared_memory());
  if (threadIdx.x % WARP == 0) of_warps[threadIdx.x / WARP] = first;
  sync_block();
  UNROLL
  for (u32 i = 0; i < BLOCK / WARP; i++) first = least(first, of_warps[i]);
  sync_block();
  return first;
}

// Products of `DEEP` columns, from k on, of some rows with others.
template <class T, class Tile>
DEVICE void multiply_rows(Tile& tile, const Side& side, u64 rows, u64 row0, u64 other0, u64 k) {
  const T* values = static_cast<const T*>(side.to) + k;
  const Operand left = operand<T, true>(values, side.stride, row0, rows);
  const Operand right = operand<T, true>(values, side.stride, other0, rows);
  tile.run(left, right, least<u64>(DEEP, side.columns - k));
}

// Sums of 16 threads that share rows; threads below `TILE` have that of their row.
template <class Tile>
DEVICE double sum_of_row(const double (&of_thread)[8]) {
  double* shared = reinterpret_cast<double*>(shared_memory());
  UNROLL
  for (u32 i = 0; i < 8; i++) shared[Tile::row(i) * SLOTS + Tile::slot()] = of_thread[i];
  sync_block();
  double sum = 0.0;
  if (threadIdx.x < TILE) {
    UNROLL
    for (u32 i = 0; i < SLOTS; i++) sum += shared[threadIdx.x * SLOTS + i];
  }
  sync_block();
  return sum;
}

// What the rows of a tile have with themselves and all before them, of their samples; those beside the diagonal twice, for
// the other side of it.
template <class T>
DEVICE void multiply_tiles(const GramArgs& args) {
  typedef typename TileOf<T, true, true>::Type Tile;
  const u64 rows = args.layer.segments.n, row0 = u64(blockIdx.x) * TILE;
  const u32 first = first_of(args, row0);
  if (first == NOBODY) return;
  Tile tile;
  double sums[8], sizes[8];
  UNROLL
  for (u32 i = 0; i < 8; i++) sums[i] = sizes[i] = 0.0;
  for (u64 other0 = (first / TILE + blockIdx.y) * TILE; other0 <= row0; other0 += SPLIT * TILE) {
    float of_x[8][8];
    UNROLL
    for (u32 i = 0; i < 8; i++) {
      UNROLL
      for (u32 j = 0; j < 8; j++) of_x[i][j] = 0.0f;
    }
    for (u64 k = 0; k < args.x.columns; k += DEEP) {
      multiply_rows<T>(tile, args.x, rows, row0, other0, k);
      UNROLL
      for (u32 i = 0; i < 8; i++) {
        UNROLL
        for (u32 j = 0; j < 8; j++) of_x[i][j] += tile.acc[i][j];
      }
    }
    for (u64 k = 0; k < args.dy.columns; k += DEEP) {
      multiply_rows<T>(tile, args.dy, rows, row0, other0, k);
      UNROLL
      for (u32 i = 0; i < 8; i++) {
        const u64 row = row0 + tile.row(i);
        const u32 begin = row < rows ? args.begins[row] : NOBODY;
        if (begin == NOBODY) continue;
        const i32 exponent = args.exponents[row];
        float sum = 0.0f, size = 0.0f;
        UNROLL
        for (u32 j = 0; j < 8; j++) {
          const u64 other = other0 + tile.column(j);
          if (other < begin || other > row) continue;
          // Beyond these limits one of the two rows with itself is so much more that the term is nothing.
          const i32 apart = args.exponents[other] - exponent;
          const float weight = power(apart < -120 ? -120 : apart > 60 ? 60 : apart);
          const float term = of_x[i][j] * tile.acc[i][j] * weight * (other < row ? 2.0f : 1.0f);
          sum += term;
          size += absolute(term);
        }
        sums[i] += double(sum);
        sizes[i] += double(size);
      }
    }
  }
  const double sum = sum_of_row<Tile>(sums), size = sum_of_row<Tile>(sizes);
  const u64 row = row0 + threadIdx.x;
  if (threadIdx.x >= TILE || row >= rows) return;
  const double weight = args.weights[row] * args.weights[row];
  double* partials = args.partials + (row * SPLIT + blockIdx.y) * 2;
  partials[0] = sum * weight;
  partials[1] = size * weight;
}

struct Dots {
  double sums, means, both;            // Those of x: of the sums and the means.
  double of_means, rests, of_both;     // Those of dy: of the means and the rests.
  double bias;
  DEVICE void merge(const Dots& x) {
    sums += x.sums;
    means += x.means;
    both += x.both;
    of_means += x.of_means;
    rests += x.rests;
    of_both += x.of_both;
    bias += x.bias;
  }
};

// A sum, and that of the magnitudes of its terms.
struct Terms {
  double sum;
  double size;
  DEVICE void add(double term) {
    sum += term;
    size += term < 0.0 ? -term : term;
  }
  DEVICE void merge(const Terms& x) {
    sum += x.sum;
    size += x.size;
  }
};

DEVICE Dots dots_of(const GramArgs& args, u64 sample, u64 rows) {
  Dots dots = {};
  const u64 of_x = sample * args.x.columns, of_dy = sample * args.dy.columns;
  for (u64 i = threadIdx.x; i < args.x.columns; i += BLOCK) {
    const double mean = args.x.mean[of_x + i], sum = args.x.other[of_x + i];
    dots.sums += sum * sum;
    dots.means += mean * mean;
    dots.both += sum * mean;
  }
  for (u64 i = threadIdx.x; i < args.dy.columns; i += BLOCK) {
    const double mean = args.dy.mean[of_dy + i], rest = args.dy.other[of_dy + i];
    dots.of_means += mean * mean;
    dots.rests += rest * rest;
    dots.of_both += mean * rest;
    const double sum = rest + double(rows) * mean;
    dots.bias += sum * sum;
  }
  return dots;
}

DEVICE void add_terms(const GramArgs& args) {
  for (u64 sample = blockIdx.x; sample < args.layer.samples; sample += gridDim.x) {
    const Span rows = args.layer.segments.span(sample);
    Dots dots = {};
    if (rows.n > 0) dots = dots_of(args, sample, rows.n);
    merge_team(dots, BLOCK);
    Terms terms{0.0, 0.0};
    for (u64 row = rows.begin + threadIdx.x; row < rows.begin + rows.n; row += BLOCK) {
      const double *of_x = args.x.products + 2 * row, *of_dy = args.dy.products + 2 * row;
      terms.add(2.0 * of_x[1] * of_dy[0]);
      terms.add(2.0 * of_x[0] * of_dy[1]);
      const double* partials = args.partials + row * SPLIT * 2;
      UNROLL
      for (u32 i = 0; i < SPLIT; i++) terms.merge(Terms{partials[2 * i], partials[2 * i + 1]});
    }
    merge_team(terms, BLOCK);
    if (threadIdx.x != 0) continue;
    terms.add(dots.of_means * dots.sums);
    terms.add(dots.rests * dots.means);
    terms.add(2.0 * dots.of_both * dots.both);
    const bool sound = terms.size - terms.size == 0.0 && terms.size <= CANCELLED * terms.sum;
    args.out[sample] = float(terms.sum + (args.bias ? dots.bias : 0.0));
    if (rows.n > 0 && !sound) args.list[1 + atomic_add(args.list, 1)] = u32(sample);
  }
}
