// channel_factors: factors of channels and the size that the limiter remembers, by one block, with sums in f64 in the order
// of the threads.
#include "common.cuh"

struct ChannelFactorsArgs {
  const float* direction;
  const float* projected;
  const float* gradient;
  float* factors;
  float* previous;  // Null without the limiter.
  u64 channels;
  u32 whole;
  float scale;
  float grad_scale;
};

constexpr double EPS = 1e-8f;
constexpr double GROWTH = 1.01f;

DEVICE bool is_finite(float x) { return (float_bits(x) & 0x7F800000u) != 0x7F800000u; }
DEVICE double square(float x) { return x > 0.0f ? double(x) : 0.0; }

struct Channels {
  const ChannelFactorsArgs& args;
  double of_all;
  DEVICE bool counts(u64 j) const {
    return is_finite(args.direction[j]) && is_finite(args.projected[j]) && is_finite(args.gradient[j]);
  }
  DEVICE double ratio(double n, double r) const {
    return double(args.scale) * sqrt(n) / (double(args.grad_scale) * sqrt(r) + EPS);
  }
  // The factor of a channel before the limiter, without that of the gradient.
  DEVICE double own(u64 j) const {
    return args.whole ? of_all : ratio(square(args.direction[j]), square(args.projected[j]));
  }
};

// The sum of what `term` gives for the channels that count; all threads get it.
template <class F>
DEVICE double sum(const Channels& channels, F term) {
  double* parts = reinterpret_cast<double*>(shared_memory());
  double own = 0.0;
  for (u64 j = threadIdx.x; j < channels.args.channels; j += BLOCK)
    if (channels.counts(j)) own += term(j);
  parts[threadIdx.x] = own;
  sync_block();
  for (u32 half = BLOCK / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
    sync_block();
  }
  const double total = parts[0];
  sync_block();
  return total;
}

DEVICE void make_factors(const ChannelFactorsArgs& args) {
  const float before = args.previous ? args.previous[0] : 0.0f;
  Channels channels{args, 0.0};
  if (args.whole) {
    const double n = sum(channels, [&](u64 j) { return square(args.direction[j]); });
    const double r = sum(channels, [&](u64 j) { return square(args.projected[j]); });
    channels.of_all = channels.ratio(n, r);
  }
  const double squares = sum(channels, [&](u64 j) {
    const double own = channels.own(j);
    return own * own * square(args.gradient[j]);
  });
  const double size = double(args.grad_scale) * sqrt(squares);
  const bool measured = is_finite(float(size));
  double limit = 1.0;
  // Of the normal numbers alone.
  if (is_finite(before) && (float_bits(before) & 0x7F800000u) != 0) {
    const double grown = size / (double(before) + EPS);
    if (grown > GROWTH) limit = grown / GROWTH;
  }
  if (args.previous && threadIdx.x == 0 && measured) {
    const float now = float(size / limit);
    args.previous[0] = (float_bits(now) & 0x7F800000u) == 0 ? 0.0f : now;
  }
  for (u64 j = threadIdx.x; j < args.channels; j += BLOCK)
    args.factors[j] =
        measured && channels.counts(j) ? float(double(args.grad_scale) * channels.own(j) / limit) : 0.0f;
}

KERNEL(channel_factors, ChannelFactorsArgs, make_factors(args))
