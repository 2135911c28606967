//! The packed form of a sparse, quantised tensor: what peers of low-communication training exchange.
//!
//! A tensor is cut into chunks ([`Chunking`]), of each of which the `k` entries of greatest magnitude are sent: where
//! they are ([`IndexCodec`]) and what they are ([`Quantizer`]). Every chunk takes the same number of words, so that a
//! chunk is found by multiplication, and the length of a payload follows from shapes that the receiver knows.
//!
//! # Bits
//!
//! A payload of a tensor is `u32` words (little-endian in a file): the tensor's words, then those of its chunks in
//! order. Within a chunk come three fields, each from a whole word on, its bits filled from the least significant on:
//!
//! | field | `signMagnitude` | `reference` | `int8` | `none` |
//! |---|---|---|---|---|
//! | of the tensor | – | 4 `f32` levels | – | – |
//! | scale | low magnitude in bits 0–15, high one in 16–31, both `bf16` | – | `f32` step | – |
//! | codes | 2 bits each: bit 0 the sign (1 is minus), bit 1 the magnitude (1 is high) | 2 bits each: the level | 8 bits each: a signed count of steps, −127 to 127 | 32 bits each: an `f32` |
//!
//! Then the positions, of `k` entries in ascending order. A position counts the elements of the chunk, row by row,
//! from 0; `n` is how many elements the chunk has at the most:
//!
//! - `packed12`: 12 bits each, so that two take three bytes;
//! - `eliasFano`: with `l` the greatest number for which `k · 2^l ≤ n`, first the low `l` bits of each position, then,
//!   from a whole word on, a bit string of `k + ⌊(n − 1) / 2^l⌋` bits in which bit `⌊position / 2^l⌋ + i` is set for
//!   the `i`-th entry.
//!
//! A chunk of fewer elements than `k` (a short last chunk) sends all of them, and its fields have room to spare. All bits that
//! nothing is said of are 0: there is one payload for what it says.
//!
//! # Values
//!
//! A value of magnitude below [`SMALLEST`] counts as zero, and none exceeds [`LARGEST`]: so no sum, product or square
//! on the way meets a subnormal or an overflow, which devices treat as they please, and results can be the same bits
//! everywhere. [`settle`] is applied wherever an operation here says that a number is settled.

mod chunking;
mod fit;
mod layout;
mod pack;
mod walk;

pub use chunking::{Chunk, Chunking};
pub use fit::{fit_magnitudes, fit_step};
pub use layout::{IndexCodec, PayloadLayout, Quantizer};
pub use walk::{Defect, is_value};

/// Elements of a chunk at the most.
pub const MAX_CHUNK: usize = 4096;

/// The magnitude below which a value counts as zero: 2⁻⁶⁰.
pub const SMALLEST: f32 = f32::from_bits((127 - 60) << 23);

/// The greatest magnitude of a value: 2³⁰.
pub const LARGEST: f32 = f32::from_bits((127 + 30) << 23);

/// The number itself, or +0 where its magnitude is below [`SMALLEST`]; NaN stays.
#[inline(always)]
pub fn settle(x: f32) -> f32 {
    if x.abs() < SMALLEST { 0.0 } else { x }
}
