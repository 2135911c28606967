// channel_step: param = keep · param − step · factors[channel] · grad in place, an element a thread.
#include "philox.cuh"

struct ChannelStepArgs {
  const void* grad;
  const float* factors;  // One for each column or row.
  void* param;
  u64 n;
  u64 columns;
  u64 seed;
  u64 stream;
  float step;
  float keep;
};

template <u32 NOISE>
DEVICE float rounded(float x, const ChannelStepArgs&, u64, Of<float>) {
  return x;
}
// The bits of the parameter of `Noise`: the lower half of word 0.
template <u32 NOISE>
DEVICE bf16 rounded(float x, const ChannelStepArgs& args, u64 i, Of<bf16>) {
  const u32 bits = float_bits(x);
  if (!NOISE || (bits & 0x7F800000u) == 0x7F800000u) return from_float<bf16>(x);
  return bf16{u16((bits + (philox4x32_10(u32(i), args.stream, args.seed).w[0] & 0xFFFFu)) >> 16)};
}

template <u32 NOISE, u32 ACROSS, class G, class P>
DEVICE void channel_step(const ChannelStepArgs& args) {
  const G* grad = static_cast<const G*>(args.grad);
  P* param = static_cast<P*>(args.param);
  const u64 threads = u64(gridDim.x) * BLOCK;
  for (u64 i = u64(blockIdx.x) * BLOCK + threadIdx.x; i < args.n; i += threads) {
    // At most 2^32 elements, so that 32 bits divide.
    const u32 place = u32(i), columns = u32(args.columns);
    const float factor = args.factors[ACROSS ? place % columns : place / columns], g = to_float(grad[i]);
    const bool counts = (float_bits(g) & 0x7FFFFFFFu) <= 0x5D800000u &&  // 2^60.
                        (float_bits(factor) & 0x7F800000u) != 0x7F800000u;
    if (!counts) continue;
    param[i] = rounded<NOISE>(args.keep * to_float(param[i]) - args.step * factor * g, args, i, Of<P>());
  }
}

#define CHANNEL_STEP(name, NOISE, G, P)                                                              \
  KERNEL(channel_step_rows_##name, ChannelStepArgs, channel_step<NOISE, 0, G, P>(args)) \
  KERNEL(channel_step_columns_##name, ChannelStepArgs, channel_step<NOISE, 1, G, P>(args))
CHANNEL_STEP(f32_f32, 0, float, float)
CHANNEL_STEP(f32_bf16, 0, float, bf16)
CHANNEL_STEP(bf16_f32, 0, bf16, float)
CHANNEL_STEP(bf16_bf16, 0, bf16, bf16)
CHANNEL_STEP(f32_bf16_noise, 1, float, bf16)
CHANNEL_STEP(bf16_bf16_noise, 1, bf16, bf16)
