// payload_norm: the sum of the squares of payloads, from codes and scales alone.
//
// A thread a chunk, and the sums of a block's 256 by halves; then the same of these sums, until one is left.
#include "payload.cuh"

struct NormArgs {
  const u32* payloads;
  const float* sums;
  float* out;
  u32* status;
  u64 stride;
  Geometry geometry;
  Layout layout;
  u32 blocks;  // Of each payload.
  u32 n;       // Sums of each payload, in the steps after the first.
};

constexpr u32 SMALLEST_SQUARE = 0x03800000u;  // 2^-120: a sum below counts as 0.

DEVICE void halves(const NormArgs& args, float own) {
  float* parts = reinterpret_cast<float*>(shared_memory());
  parts[threadIdx.x] = own;
  sync_block();
  for (u32 reach = BLOCK / 2; reach > 0; reach /= 2) {
    if (threadIdx.x < reach) parts[threadIdx.x] = add(parts[threadIdx.x], parts[threadIdx.x + reach]);
    sync_block();
  }
  if (threadIdx.x == 0) args.out[blockIdx.x] = parts[0];
}

// How many entries have each code of 2 bits.
DEVICE void histogram(const u32* codes, u32 entries, u32 (&counts)[4]) {
  for (u32 w = 0; 16 * w < entries; w++) {
    const u32 used = 0x55555555u & (0xFFFFFFFFu >> (32 - 2 * least(entries - 16 * w, 16u)));
    const u32 first = codes[w] & used, second = codes[w] >> 1 & used;
    counts[0] += population(used & ~first & ~second);
    counts[1] += population(first & ~second);
    counts[2] += population(second & ~first);
    counts[3] += population(first & second);
  }
}

template <int Q>
DEVICE float square(const Layout& layout, const u32* payload, const u32* words, u32 entries, bool& sound) {
  const u32* codes = words + layout.codes_at;
  if (Q == SIGN_MAGNITUDE || Q == REFERENCE) {
    u32 counts[4] = {0, 0, 0, 0};
    histogram(codes, entries, counts);
    const auto part = [](u32 count, u32 bits) {
      return multiply(float(count), multiply(bits_float(bits), bits_float(bits)));
    };
    if (Q == SIGN_MAGNITUDE) {
      sound = are_magnitudes(words[0]);
      return add(part(counts[0] + counts[1], words[0] << 16), part(counts[2] + counts[3], words[0] & 0xFFFF0000u));
    }
    float sum = 0.0f;
    UNROLL
    for (u32 c = 0; c < 4; c++) {
      sound = sound && is_value(payload[c]);
      sum = add(sum, part(counts[c], payload[c]));
    }
    return sum;
  }
  if (Q == INT8) {
    u32 sum = 0;
    for (u32 i = 0; i < entries; i++) {
      const u32 code = codes[i / 4] >> (8 * (i % 4)) & 0xFFu;
      const i32 steps = i32(code) - (code >= 128 ? 256 : 0);
      sum += u32(steps * steps);
    }
    sound = is_step(words[0]);
    const float step = bits_float(words[0]);
    return multiply(multiply(float(sum), step), step);
  }
  float sum = 0.0f;
  for (u32 i = 0; i < entries; i++) {
    sound = sound && is_value(codes[i]);
    sum = add(sum, multiply(bits_float(codes[i]), bits_float(codes[i])));
  }
  return sum;
}

template <int Q>
DEVICE void chunks(const NormArgs& args) {
  const u32 r = blockIdx.x / args.blocks, chunk = blockIdx.x % args.blocks * BLOCK + threadIdx.x;
  float sum = 0.0f;
  if (chunk < args.geometry.chunks) {
    const u32* payload = args.payloads + r * args.stride;
    const u32* words = payload + args.layout.tensor_words + u64(chunk) * args.layout.words;
    bool sound = true;
    sum = square<Q>(args.layout, payload, words, least(args.layout.k, Place(args.geometry, chunk).n), sound);
    if (!sound) report_fault(args.status, u64(r) * args.geometry.chunks + chunk);
    if (float_bits(sum) < SMALLEST_SQUARE) sum = 0.0f;
  }
  halves(args, sum);
}

DEVICE void sums(const NormArgs& args) {
  const u32 r = blockIdx.x / args.blocks, i = blockIdx.x % args.blocks * BLOCK + threadIdx.x;
  halves(args, i < args.n ? args.sums[u64(r) * args.n + i] : 0.0f);
}

KERNEL(payload_norm_signMagnitude, NormArgs, chunks<SIGN_MAGNITUDE>(args))
KERNEL(payload_norm_reference, NormArgs, chunks<REFERENCE>(args))
KERNEL(payload_norm_int8, NormArgs, chunks<INT8>(args))
KERNEL(payload_norm_none, NormArgs, chunks<NONE>(args))
KERNEL(payload_norm_sums, NormArgs, sums(args))
