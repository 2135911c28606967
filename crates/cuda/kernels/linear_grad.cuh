// What the operations on the gradients that samples have for a linear layer share: a tile of dYᵀX over the rows of a
// sample, checks of offsets and weights, sums of rows of dY.
#pragma once
#include "gemm.cuh"
#include "reduce.cuh"

struct Layer {
  const void* x;   // [rows, d]
  const void* dy;  // [rows, p]
  Segments segments;
  u64 samples;
  u64 d;
  u64 p;

  DEVICE u64 tiles_right() const { return (d + TILE - 1) / TILE; }
  DEVICE u64 tiles() const { return (p + TILE - 1) / TILE * tiles_right(); }
};

DEVICE void check_offsets(const Layer& layer) {
  const u64 threads = u64(gridDim.x) * BLOCK;
  for (u64 sample = u64(blockIdx.x) * BLOCK + threadIdx.x; sample < layer.samples; sample += threads)
    if (!layer.segments.sound(sample)) report_fault(layer.segments.status, sample);
}

// Outputs are the rows of a tile, inputs its columns, and both are stored with the rows of the sample outermost.
template <class T>
struct GradientTile {
  typename TileOf<T, false, false>::Type tile;
  u64 output0, input0;
  u32 outputs, inputs;

  DEVICE void place(const Layer& layer, u64 number) {
    output0 = number / layer.tiles_right() * TILE;
    input0 = number % layer.tiles_right() * TILE;
    outputs = u32(least<u64>(layer.p - output0, TILE));
    inputs = u32(least<u64>(layer.d - input0, TILE));
  }

  // The gradient of a sample, in tile.acc; what lies outside of the layer means nothing.
  DEVICE void run(const Layer& layer, const Span& rows) {
    const T* dy = static_cast<const T*>(layer.dy) + rows.begin * layer.p;
    const T* x = static_cast<const T*>(layer.x) + rows.begin * layer.d;
    const Operand left = operand<T, false>(dy, layer.p, output0, layer.p);
    const Operand top = operand<T, false>(x, layer.d, input0, layer.d);
    tile.run(left, top, rows.n);
  }
};

// The sum of one column of dY over the rows of a sample.
template <class T>
DEVICE double column_sum(const Layer& layer, const Span& rows, u64 output) {
  const T* dy = static_cast<const T*>(layer.dy) + rows.begin * layer.p + output;
  double sum = 0.0;
  for (u64 row = 0; row < rows.n; row++) sum += double(to_float(dy[row * layer.p]));
  return sum;
}
