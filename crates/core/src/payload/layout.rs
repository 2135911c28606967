use std::ops::Range;

use super::{Chunking, MAX_CHUNK};
use crate::{Code, Error, Result};

macro_rules! named {
    ($(#[$doc:meta])* $type:ident as $what:literal { $($(#[$variant_doc:meta])* $variant:ident = $id:literal, $name:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $type { $($(#[$variant_doc])* $variant,)* }

        impl $type {
            /// All of them.
            pub const ALL: &'static [$type] = &[$($type::$variant,)*];

            /// The name in options and reports.
            pub const fn name(self) -> &'static str {
                match self { $($type::$variant => $name,)* }
            }

            /// The number in files; it never changes.
            pub const fn id(self) -> u8 {
                match self { $($type::$variant => $id,)* }
            }

            /// The one of this number.
            pub fn from_id(id: u8) -> Option<Self> {
                Self::ALL.iter().copied().find(|x| x.id() == id)
            }
        }

        impl std::str::FromStr for $type {
            type Err = Error;

            fn from_str(name: &str) -> Result<Self> {
                Self::ALL.iter().copied().find(|x| x.name() == name).ok_or_else(|| {
                    let names: Vec<_> = Self::ALL.iter().map(|x| x.name()).collect();
                    Error::new(Code::InvalidArgument, format!(concat!("no ", $what, " {:?}"), name))
                        .hint(format!("one of {}", names.join(", ")))
                })
            }
        }
    };
}

named! {
    /// What is kept of a value.
    Quantizer as "quantizer" {
        /// Its sign, and one of two magnitudes of the chunk: 2 bits.
        SignMagnitude = 1, "signMagnitude";
        /// One of four levels of the whole tensor: 2 bits.
        Reference = 2, "reference";
        /// Its multiple of a step of the chunk: 8 bits.
        Int8 = 3, "int8";
        /// All of it: 32 bits.
        None = 4, "none";
    }
}

named! {
    /// How the positions of a chunk's entries are written.
    IndexCodec as "index codec" {
        /// Low bits as they are, high bits as a bit string: within a tenth of what any code needs.
        EliasFano = 1, "eliasFano";
        /// 12 bits each.
        Packed12 = 2, "packed12";
    }
}

/// The layout of a chunk's words; see the [module](super) for every bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PayloadLayout {
    chunk: u32,
    k: u32,
    quantizer: Quantizer,
    indices: IndexCodec,
}

impl PayloadLayout {
    /// Chunks of `chunk` elements (1 to [`MAX_CHUNK`]), of which `k` (1 to `chunk`) are sent.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] outside of these.
    pub fn new(chunk: usize, k: usize, quantizer: Quantizer, indices: IndexCodec) -> Result<Self> {
        if chunk == 0 || chunk > MAX_CHUNK {
            return Err(Error::invalid_argument(
                "chunk",
                format!("expected 1 to {MAX_CHUNK}, given {chunk}"),
            ));
        }
        if k == 0 || k > chunk {
            return Err(Error::invalid_argument(
                "topK",
                format!("expected 1 to the chunk of {chunk}, given {k}"),
            ));
        }
        Ok(Self { chunk: chunk as u32, k: k as u32, quantizer, indices })
    }

    /// Elements of a chunk at the most.
    pub fn chunk(&self) -> usize {
        self.chunk as usize
    }

    /// Entries of a chunk at the most.
    pub fn k(&self) -> usize {
        self.k as usize
    }

    /// What is kept of a value.
    pub fn quantizer(&self) -> Quantizer {
        self.quantizer
    }

    /// How positions are written.
    pub fn indices(&self) -> IndexCodec {
        self.indices
    }

    /// Entries that a chunk of this many elements sends.
    #[inline(always)]
    pub fn entries(&self, elements: usize) -> usize {
        elements.min(self.k as usize)
    }

    /// Words in front of a tensor's chunks.
    pub fn tensor_words(&self) -> usize {
        if self.quantizer == Quantizer::Reference { 4 } else { 0 }
    }

    /// Words of a chunk's scale.
    #[inline(always)]
    pub fn scale_words(&self) -> usize {
        usize::from(matches!(self.quantizer, Quantizer::SignMagnitude | Quantizer::Int8))
    }

    /// Bits of a code.
    #[inline(always)]
    pub fn code_bits(&self) -> usize {
        match self.quantizer {
            Quantizer::SignMagnitude | Quantizer::Reference => 2,
            Quantizer::Int8 => 8,
            Quantizer::None => 32,
        }
    }

    /// Where a chunk's codes are among its words.
    #[inline(always)]
    pub fn codes(&self) -> Range<usize> {
        let start = self.scale_words();
        start..start + (self.k() * self.code_bits()).div_ceil(32)
    }

    /// Bits of a position that are written as they are: all 12, or the low ones.
    #[inline(always)]
    pub fn low_bits(&self) -> u32 {
        match self.indices {
            IndexCodec::Packed12 => 12,
            IndexCodec::EliasFano => (self.chunk / self.k).ilog2(),
        }
    }

    /// Where these bits are among a chunk's words.
    #[inline(always)]
    pub fn lows(&self) -> Range<usize> {
        let start = self.codes().end;
        start..start + (self.k() * self.low_bits() as usize).div_ceil(32)
    }

    /// Where the bit string of the high bits is among a chunk's words; nowhere when positions are packed.
    #[inline(always)]
    pub fn highs(&self) -> Range<usize> {
        let start = self.lows().end;
        let bits = match self.indices {
            IndexCodec::Packed12 => 0,
            IndexCodec::EliasFano => self.k() + ((self.chunk - 1) >> self.low_bits()) as usize,
        };
        start..start + bits.div_ceil(32)
    }

    /// Words of a chunk.
    #[inline(always)]
    pub fn words_per_chunk(&self) -> usize {
        self.highs().end
    }

    /// Bits of a chunk.
    pub fn bits(&self) -> usize {
        32 * self.words_per_chunk()
    }

    /// Words of a tensor that is cut like this.
    pub fn words(&self, chunking: &Chunking) -> usize {
        self.tensor_words() + chunking.chunks() * self.words_per_chunk()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(k: usize, quantizer: Quantizer, indices: IndexCodec) -> PayloadLayout {
        PayloadLayout::new(4096, k, quantizer, indices).unwrap()
    }

    #[test]
    fn bytes_of_a_chunk_are_those_of_the_design() {
        use IndexCodec::{EliasFano, Packed12};
        use Quantizer::{Int8, None, Reference, SignMagnitude};
        // Bytes by k, codec and quantiser, counted by hand.
        for (k, quantizer, indices, bytes) in [
            (32, Reference, EliasFano, 44),
            (64, Reference, EliasFano, 80),
            (64, SignMagnitude, EliasFano, 84),
            (128, Reference, EliasFano, 144),
            (32, Reference, Packed12, 56),
            (64, Reference, Packed12, 112),
            (128, Reference, Packed12, 224),
            (64, Int8, EliasFano, 132),
            (64, None, Packed12, 352),
            // No low bits, and a string of 8,191.
            (4096, SignMagnitude, EliasFano, 4 + 1024 + 1024),
        ] {
            let layout = layout(k, quantizer, indices);
            assert_eq!(4 * layout.words_per_chunk(), bytes, "{layout:?}");
        }
        let best = layout(64, SignMagnitude, EliasFano);
        assert_eq!(best.bits() as f64 / 4096.0, 0.164_062_5);
        assert_eq!(32 * 4096 / best.bits(), 195);
    }

    #[test]
    fn names_and_numbers_round_trip() {
        for &q in Quantizer::ALL {
            assert_eq!((q.name().parse::<Quantizer>().unwrap(), Quantizer::from_id(q.id())), (q, Some(q)));
        }
        for &c in IndexCodec::ALL {
            assert_eq!((c.name().parse::<IndexCodec>().unwrap(), IndexCodec::from_id(c.id())), (c, Some(c)));
        }
        assert_eq!("4bit".parse::<Quantizer>().unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(IndexCodec::from_id(0), None);
    }

    #[test]
    fn refuses_what_cannot_be_laid_out() {
        for (chunk, k) in [(0, 0), (0, 1), (4096, 0), (4096, 4097), (4097, 1), (7, 8)] {
            let e = PayloadLayout::new(chunk, k, Quantizer::None, IndexCodec::EliasFano).unwrap_err();
            assert_eq!(e.code(), Code::InvalidArgument, "{chunk} {k}");
        }
    }
}
