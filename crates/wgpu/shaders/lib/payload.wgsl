// Numbers and bits of payloads, as the core's `payload` module defines them.

// 2^-60 and 2^30.
const smallest = 0x21800000u;
const largest = 0x4e800000u;

#include opaque

// +0 where the magnitude is below the smallest; NaN stays.
fn settle(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  return bitcast<f32>(select(bits, 0u, (bits & 0x7fffffffu) < smallest));
}

// Whether these are the bits of a value, of either sign.
fn is_value(bits: u32) -> bool {
  let m = bits & 0x7fffffffu;
  return bits == 0u || (m >= smallest && m <= largest);
}

// Whether the first word of a chunk is two magnitudes, the low one in the lower half.
fn are_magnitudes(word: u32) -> bool {
  let low = word << 16u;
  let high = word & 0xffff0000u;
  return (low == 0u || (low >= smallest && low <= largest)) && (high == 0u || (high >= smallest && high <= largest))
    && low <= high;
}

// Whether it is a step: at the least a 128th of the smallest value.
fn is_step(word: u32) -> bool { return word == 0u || (word >= smallest - (7u << 23u) && word <= largest); }
