//! How elements are stored, and how they become f32.
//!
//! A quantised row is a sequence of blocks of 32 or 256 elements with scales in front or behind. The order of the
//! operations below is that of the `gguf` package, so that every f32 equals the package's bit by bit.

use std::fmt;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// The encodings of elements that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names are the format's own")]
pub enum Encoding {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q4K,
    Q5K,
    Q6K,
}

impl Encoding {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// The type number in a GGUF file.
    pub const fn ggml_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Q4K => 12,
            Self::Q5K => 13,
            Self::Q6K => 14,
            Self::Bf16 => 30,
        }
    }

    /// Elements and bytes of a block.
    pub const fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q8_0 => (32, 34),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
        }
    }

    /// Bytes of so many elements; `None` when they are no whole blocks, or overflow.
    pub fn bytes(self, elements: usize) -> Option<usize> {
        let (size, bytes) = self.block();
        if !elements.is_multiple_of(size) {
            return None;
        }
        (elements / size).checked_mul(bytes)
    }

    /// Decodes whole blocks.
    ///
    /// # Panics
    /// When `stored` and `out` are not as many blocks.
    pub fn decode(self, stored: &[u8], out: &mut [f32]) {
        assert_eq!(self.bytes(out.len()), Some(stored.len()), "whole blocks of {self}");
        match self {
            Self::F32 => {
                for (out, bytes) in out.iter_mut().zip(stored.as_chunks().0) {
                    *out = f32::from_le_bytes(*bytes);
                }
            }
            Self::F16 => widen(stored, out, |bits, out| {
                bits.map(f16::from_bits).as_slice().convert_to_f32_slice(out);
            }),
            Self::Bf16 => widen(stored, out, |bits, out| {
                bits.map(bf16::from_bits).as_slice().convert_to_f32_slice(out);
            }),
            Self::Q8_0 => blocks(stored, out, q8_0),
            Self::Q4_0 => blocks(stored, out, q4_0),
            Self::Q4_1 => blocks(stored, out, q4_1),
            Self::Q5_0 => blocks(stored, out, q5_0),
            Self::Q5_1 => blocks(stored, out, q5_1),
            Self::Q4K => blocks(stored, out, q4_k),
            Self::Q5K => blocks(stored, out, q5_k),
            Self::Q6K => blocks(stored, out, q6_k),
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Q4K => f.write_str("Q4_K"),
            Self::Q5K => f.write_str("Q5_K"),
            Self::Q6K => f.write_str("Q6_K"),
            other => fmt::Debug::fmt(other, f),
        }
    }
}

/// Sixteen-bit numbers, sixteen at a time for the conversion instructions.
fn widen(stored: &[u8], out: &mut [f32], convert: impl Fn([u16; 16], &mut [f32])) {
    for (bytes, out) in stored.chunks(32).zip(out.chunks_mut(16)) {
        let mut bits = [0; 16];
        for (bits, pair) in bits.iter_mut().zip(bytes.as_chunks().0) {
            *bits = u16::from_le_bytes(*pair);
        }
        let mut wide = [0.0; 16];
        convert(bits, &mut wide);
        out.copy_from_slice(&wide[..out.len()]);
    }
}

fn blocks<const N: usize, const B: usize>(
    stored: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; B], &mut [f32; N]),
) {
    for (block, out) in stored.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        decode(block, out);
    }
}

/// The f16 at `at` of a block.
fn scale(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// `q·d`, q in −128..128.
fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    for (out, &q) in out.iter_mut().zip(&block[2..]) {
        *out = f32::from(q as i8) * d;
    }
}

/// `(q − 8)·d`; low halves of the bytes are the first 16 elements, high halves the others.
fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    for (j, &q) in block[2..].iter().enumerate() {
        out[j] = f32::from((q & 15) as i8 - 8) * d;
        out[j + 16] = f32::from((q >> 4) as i8 - 8) * d;
    }
}

/// `q·d + m`.
fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (scale(block, 0), scale(block, 2));
    for (j, &q) in block[4..].iter().enumerate() {
        out[j] = f32::from(q & 15) * d + m;
        out[j + 16] = f32::from(q >> 4) * d + m;
    }
}

/// The five-bit numbers of a block: four bits as in [`q4_0`], the fifth in a word of 32 bits.
fn five_bits(high: &[u8], low: &[u8]) -> [u8; 32] {
    let high = u32::from_le_bytes([high[0], high[1], high[2], high[3]]);
    std::array::from_fn(|j| {
        let four = if j < 16 { low[j] & 15 } else { low[j - 16] >> 4 };
        four | ((high >> j & 1) as u8) << 4
    })
}

/// `(q − 16)·d`.
fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    for (out, q) in out.iter_mut().zip(five_bits(&block[2..6], &block[6..])) {
        *out = f32::from(q as i8 - 16) * d;
    }
}

/// `q·d + m`.
fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (scale(block, 0), scale(block, 2));
    for (out, q) in out.iter_mut().zip(five_bits(&block[4..8], &block[8..])) {
        *out = f32::from(q) * d + m;
    }
}

/// The six-bit scale and minimum of sub-block `j` of 8, out of twelve bytes: the first four pairs in the low six bits
/// of the first eight bytes, the others in the last four bytes with their top bits above the first ones.
fn six_bits(packed: &[u8], j: usize) -> (f32, f32) {
    let (scale, min) = match j {
        0..4 => (packed[j] & 63, packed[j + 4] & 63),
        _ => {
            let both = packed[j + 4];
            (both & 15 | (packed[j - 4] >> 6) << 4, both >> 4 | (packed[j] >> 6) << 4)
        }
    };
    (f32::from(scale), f32::from(min))
}

/// `q·(d·scale) − dmin·min`, scale and min per 32 elements.
fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, dmin, packed, low) = (scale(block, 0), scale(block, 2), &block[4..16], &block[16..]);
    for (j, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = six_bits(packed, j);
        let (scale, min) = (d * scale, dmin * min);
        for (out, &byte) in out.iter_mut().zip(&low[j / 2 * 32..]) {
            let q = byte >> (4 * (j % 2)) & 15;
            *out = scale * f32::from(q) - min;
        }
    }
}

/// As [`q4_k`], with a fifth bit: bit `j` of 32 bytes for sub-block `j`.
fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, dmin, packed) = (scale(block, 0), scale(block, 2), &block[4..16]);
    let (high, low) = (&block[16..48], &block[48..]);
    for (j, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = six_bits(packed, j);
        let (scale, min) = (d * scale, dmin * min);
        for ((out, &byte), &bits) in out.iter_mut().zip(&low[j / 2 * 32..]).zip(high) {
            let q = byte >> (4 * (j % 2)) & 15 | (bits >> j & 1) << 4;
            *out = scale * f32::from(q) - min;
        }
    }
}

/// `(d·scale)·(q − 32)`, a signed scale per 16 elements; four bits in 128 bytes, two in 64, scales, d.
fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let (low, high, scales, d) = (&block[..128], &block[128..192], &block[192..208], scale(block, 208));
    for (j, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        // Elements come in halves of 128; of each half the quarters share bytes.
        let (half, quarter) = (j / 4, j % 4);
        let low = &low[half * 64 + quarter % 2 * 32..];
        let high = &high[half * 32..];
        for (i, out) in out.iter_mut().enumerate() {
            let q = low[i] >> (quarter / 2 * 4) & 15 | (high[i] >> (quarter * 2) & 3) << 4;
            let scale = d * f32::from(scales[j * 2 + i / 16] as i8);
            *out = scale * f32::from(q as i8 - 32);
        }
    }
}
