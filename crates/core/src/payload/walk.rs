use std::fmt;

use super::{IndexCodec, LARGEST, PayloadLayout, Quantizer, SMALLEST, settle};

/// What is wrong with the words of a chunk or tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Defect {
    /// There are more or fewer words than the shapes ask for.
    Length,
    /// The bit string of positions has another number of bits set than there are entries.
    Population,
    /// A position is not greater than the one before it.
    Order,
    /// A position lies outside of its chunk.
    Position,
    /// A scale is not finite, negative, too small, too large, or greater than the one that it must not exceed.
    Scale,
    /// A level or value is not finite, or its magnitude is out of bounds.
    Value,
    /// A code stands for nothing.
    CodeUnused,
    /// A bit that must be 0 is 1.
    Padding,
}

impl Defect {
    /// The name in reports and errors.
    pub const fn name(self) -> &'static str {
        match self {
            Defect::Length => "length",
            Defect::Population => "population",
            Defect::Order => "indices-not-ascending",
            Defect::Position => "position",
            Defect::Scale => "scale",
            Defect::Value => "value",
            Defect::CodeUnused => "code",
            Defect::Padding => "padding",
        }
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Defect::Length => "its length is not what the shapes ask for",
            Defect::Population => "its positions are more or fewer than its entries",
            Defect::Order => "its positions do not ascend",
            Defect::Position => "a position lies outside of the chunk",
            Defect::Scale => "a scale is not finite or out of bounds",
            Defect::Value => "a value is not finite or out of bounds",
            Defect::CodeUnused => "a code stands for nothing",
            Defect::Padding => "a bit that must be 0 is set",
        })
    }
}

/// Whether a number may stand in a payload: 0 without a sign, or of a magnitude within bounds.
#[inline(always)]
pub fn is_value(x: f32) -> bool {
    x.to_bits() == 0 || (SMALLEST..=LARGEST).contains(&x.abs())
}

/// `bits` bits (up to 32) from bit `at` of the words on.
#[inline(always)]
fn field(word: &impl Fn(usize) -> u32, at: usize, bits: usize) -> u32 {
    if bits == 0 {
        return 0;
    }
    let (i, shift) = (at / 32, at % 32);
    let mut two = u64::from(word(i));
    if shift + bits > 32 {
        two |= u64::from(word(i + 1)) << 32;
    }
    ((two >> shift) & ((1 << bits) - 1)) as u32
}

/// Whether all bits from `used` to the end of this many words are 0.
fn clear(word: &impl Fn(usize) -> u32, used: usize, words: usize) -> bool {
    (used / 32..words).all(|i| word(i) >> (if i == used / 32 { used % 32 } else { 0 }) == 0)
}

/// A scale as the chunk's codes need it.
struct Scale {
    /// The two magnitudes, or the step twice.
    magnitudes: [f32; 2],
    levels: [f32; 4],
}

impl PayloadLayout {
    /// Checks the words in front of a tensor's chunks, and gives its levels. `word` gives word `i` of them.
    ///
    /// # Errors
    /// [`Defect::Value`].
    pub fn check_levels(&self, word: &impl Fn(usize) -> u32) -> Result<[f32; 4], Defect> {
        if self.quantizer() != Quantizer::Reference {
            return Ok([0.0; 4]);
        }
        let levels = [0, 1, 2, 3].map(|i| f32::from_bits(word(i)));
        if levels.iter().all(|&x| is_value(x)) { Ok(levels) } else { Err(Defect::Value) }
    }

    /// Checks the words of a chunk that has this many elements: every bit. `word` gives word `i` of
    /// [`words_per_chunk`](Self::words_per_chunk). Nothing is allocated.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn check_chunk(&self, word: &impl Fn(usize) -> u32, elements: usize) -> Result<(), Defect> {
        self.walk(word, elements, &[0.0; 4], |_, _| ())
    }

    /// The entries of a chunk that has this many elements, as position and value, in ascending order of position;
    /// `levels` are the tensor's. Every bit is checked before the first entry comes.
    ///
    /// # Errors
    /// As [`check_chunk`](Self::check_chunk).
    pub fn decode_chunk(
        &self,
        word: &impl Fn(usize) -> u32,
        elements: usize,
        levels: &[f32; 4],
        entry: impl FnMut(usize, f32),
    ) -> Result<(), Defect> {
        self.check_chunk(word, elements)?;
        self.walk(word, elements, levels, entry)
    }

    /// Checks, and gives entries as it goes.
    fn walk(
        &self,
        word: &impl Fn(usize) -> u32,
        elements: usize,
        levels: &[f32; 4],
        mut entry: impl FnMut(usize, f32),
    ) -> Result<(), Defect> {
        let entries = self.entries(elements);
        let scale = self.scale(word, *levels)?;
        self.check_padding(word, entries)?;
        let (codes, bits) = (32 * self.codes().start, self.code_bits());
        let mut next = 0;
        self.positions(word, entries, |i, position| {
            if i > 0 && position < next {
                return Err(Defect::Order);
            }
            if position >= elements {
                return Err(Defect::Position);
            }
            next = position + 1;
            entry(position, self.value(&scale, field(word, codes + i * bits, bits))?);
            Ok(())
        })
    }

    /// Checks the scale of a chunk.
    fn scale(&self, word: &impl Fn(usize) -> u32, levels: [f32; 4]) -> Result<Scale, Defect> {
        let magnitudes = match self.quantizer() {
            Quantizer::SignMagnitude => self.check_magnitudes(word(0))?,
            Quantizer::Int8 => [self.check_step(word(0))?; 2],
            Quantizer::Reference | Quantizer::None => [0.0; 2],
        };
        Ok(Scale { magnitudes, levels })
    }

    /// The magnitudes that a chunk's first word is with `signMagnitude`, the low one first.
    ///
    /// # Errors
    /// [`Defect::Scale`].
    #[inline(always)]
    pub fn check_magnitudes(&self, word: u32) -> Result<[f32; 2], Defect> {
        let [low, high] = [f32::from_bits(word << 16), f32::from_bits(word & 0xFFFF_0000)];
        let bounded = |x: f32| x.to_bits() == 0 || (SMALLEST..=LARGEST).contains(&x);
        if bounded(low) && bounded(high) && low <= high { Ok([low, high]) } else { Err(Defect::Scale) }
    }

    /// The step that a chunk's first word is with `int8`: a 127th of a value, which may be as small as they come.
    ///
    /// # Errors
    /// [`Defect::Scale`].
    #[inline(always)]
    pub fn check_step(&self, word: u32) -> Result<f32, Defect> {
        let x = f32::from_bits(word);
        let bounded = word == 0 || (SMALLEST / 128.0..=LARGEST).contains(&x);
        if bounded { Ok(x) } else { Err(Defect::Scale) }
    }

    /// What a code stands for.
    fn value(&self, scale: &Scale, code: u32) -> Result<f32, Defect> {
        match self.quantizer() {
            Quantizer::SignMagnitude => {
                let x = scale.magnitudes[code as usize >> 1];
                Ok(if code & 1 == 1 && x != 0.0 { -x } else { x })
            }
            Quantizer::Reference => Ok(scale.levels[code as usize]),
            Quantizer::Int8 => match code as u8 as i8 {
                i8::MIN => Err(Defect::CodeUnused),
                steps => {
                    let x = settle(f32::from(steps) * scale.magnitudes[0]);
                    if x.abs() <= LARGEST { Ok(x) } else { Err(Defect::Scale) }
                }
            },
            Quantizer::None => {
                let x = f32::from_bits(code);
                if is_value(x) { Ok(x) } else { Err(Defect::Value) }
            }
        }
    }

    /// Checks that all bits beside those of the entries' codes and positions are 0; not those of the bit string, whose
    /// population and positions tell.
    ///
    /// # Errors
    /// [`Defect::Padding`].
    #[inline]
    pub fn check_padding(&self, word: &impl Fn(usize) -> u32, entries: usize) -> Result<(), Defect> {
        let codes = 32 * self.codes().start + entries * self.code_bits();
        let lows = 32 * self.lows().start + entries * self.low_bits() as usize;
        if clear(word, codes, self.codes().end) && clear(word, lows, self.lows().end) {
            Ok(())
        } else {
            Err(Defect::Padding)
        }
    }

    /// The positions as they are written, with their numbers, until one is refused.
    fn positions(
        &self,
        word: &impl Fn(usize) -> u32,
        entries: usize,
        mut position: impl FnMut(usize, usize) -> Result<(), Defect>,
    ) -> Result<(), Defect> {
        let (lows, bits) = (32 * self.lows().start, self.low_bits() as usize);
        let low = |i: usize| field(word, lows + i * bits, bits) as usize;
        if self.indices() == IndexCodec::Packed12 {
            return (0..entries).try_for_each(|i| position(i, low(i)));
        }
        let highs = self.highs();
        if highs.clone().map(|i| word(i).count_ones() as usize).sum::<usize>() != entries {
            return Err(Defect::Population);
        }
        let mut i = 0;
        for (at, w) in highs.enumerate() {
            let mut left = word(w);
            while left != 0 {
                let bit = 32 * at + left.trailing_zeros() as usize;
                left &= left - 1;
                // The i-th bit set is at i or behind.
                position(i, (bit - i) << bits | low(i))?;
                i += 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::hash64;

    const LEVELS: [f32; 4] = [-3.0, 0.0, 1.0, 2.0];

    fn decode(layout: &PayloadLayout, words: &[u32], elements: usize) -> Result<Vec<(usize, f32)>, Defect> {
        let mut entries = Vec::new();
        layout.decode_chunk(&|i| words[i], elements, &LEVELS, |p, v| entries.push((p, v)))?;
        Ok(entries)
    }

    fn random(seed: u64, i: u64) -> u64 {
        hash64(seed, &i.to_le_bytes())
    }

    /// Ascending positions and codes that are allowed, and the word of the scale.
    fn draw(layout: &PayloadLayout, elements: usize, seed: u64) -> (u32, Vec<(usize, u32)>) {
        let mut positions: Vec<usize> = (0..elements).collect();
        positions.sort_by_key(|&p| random(seed, p as u64));
        positions.truncate(layout.entries(elements));
        positions.sort_unstable();
        let code = |p: usize| {
            let bits = random(!seed, p as u64) as u32;
            match layout.quantizer() {
                Quantizer::SignMagnitude | Quantizer::Reference => bits & 3,
                Quantizer::Int8 => u32::from((bits % 255) as u8).wrapping_sub(127) & 255,
                Quantizer::None => ((bits % 2000) as f32 - 1000.0).to_bits(),
            }
        };
        let scale = match layout.quantizer() {
            Quantizer::SignMagnitude => 0x4000_3F80, // 1 and 2
            _ => 0.5f32.to_bits(),
        };
        (scale, positions.into_iter().map(|p| (p, code(p))).collect())
    }

    fn value(layout: &PayloadLayout, code: u32) -> f32 {
        match layout.quantizer() {
            Quantizer::SignMagnitude => [1.0, -1.0, 2.0, -2.0][code as usize],
            Quantizer::Reference => LEVELS[code as usize],
            Quantizer::Int8 => f32::from(code as u8 as i8) * 0.5,
            Quantizer::None => f32::from_bits(code),
        }
    }

    fn layouts() -> impl Iterator<Item = (PayloadLayout, usize)> {
        let sizes = [(4096, 64, 4096), (4096, 64, 70), (4096, 64, 9), (4096, 4096, 4096), (4096, 1, 4096)];
        let more = [(1, 1, 1), (7, 3, 7), (7, 7, 5), (1000, 33, 999), (48, 40, 48), (4096, 100, 1)];
        let codecs = |q| IndexCodec::ALL.iter().map(move |&c| (q, c));
        sizes.into_iter().chain(more).flat_map(move |(chunk, k, elements)| {
            let all = Quantizer::ALL.iter().flat_map(move |&q| codecs(q));
            all.map(move |(q, c)| (PayloadLayout::new(chunk, k, q, c).unwrap(), elements))
        })
    }

    #[test]
    fn what_is_packed_is_what_comes_out() {
        for (layout, elements) in layouts() {
            for seed in 0..20 {
                let (scale, entries) = draw(&layout, elements, seed);
                let mut words = vec![!0; layout.words_per_chunk()];
                layout.pack_chunk(scale, entries.iter().copied(), &mut words);
                let expected: Vec<_> = entries.iter().map(|&(p, c)| (p, value(&layout, c))).collect();
                assert_eq!(decode(&layout, &words, elements).unwrap(), expected, "{layout:?} {elements}");
            }
        }
    }

    #[test]
    fn every_changed_bit_is_refused_or_says_something_else() {
        for (layout, elements) in layouts().filter(|(layout, _)| layout.k() <= 100) {
            let (scale, entries) = draw(&layout, elements, 7);
            let mut words = vec![0; layout.words_per_chunk()];
            layout.pack_chunk(scale, entries, &mut words);
            let before = decode(&layout, &words, elements).unwrap();
            for bit in 0..layout.bits() {
                words[bit / 32] ^= 1 << (bit % 32);
                // A scale that no code uses is all that may change unseen.
                if bit >= 32 * layout.scale_words() {
                    assert_ne!(decode(&layout, &words, elements), Ok(before.clone()), "{layout:?} {bit}");
                }
                words[bit / 32] ^= 1 << (bit % 32);
            }
        }
    }

    #[test]
    fn any_words_at_all_are_refused_or_decoded_within_bounds() {
        for (layout, elements) in layouts() {
            for seed in 0..50 {
                let words: Vec<u32> =
                    (0..layout.words_per_chunk()).map(|i| random(seed, i as u64) as u32).collect();
                for entry in decode(&layout, &words, elements).unwrap_or_default() {
                    assert!(entry.0 < elements && is_value(entry.1.abs()), "{layout:?}");
                }
            }
        }
    }

    #[test]
    fn each_defect_has_its_name() {
        let layout = |q, c| PayloadLayout::new(4096, 2, q, c).unwrap();
        let chunk = |layout: PayloadLayout, scale: u32, entries: [(usize, u32); 2], elements: usize| {
            let mut words = vec![0; layout.words_per_chunk()];
            layout.pack_chunk(scale, entries, &mut words);
            decode(&layout, &words, elements)
        };
        let packed = |q| layout(q, IndexCodec::Packed12);
        let (one, sign) = (1f32.to_bits(), packed(Quantizer::SignMagnitude));
        let unit = 0x3F80_3F80;
        assert_eq!(chunk(sign, unit, [(0, 3), (9, 1)], 10), Ok(vec![(0, -1.0), (9, -1.0)]));
        assert_eq!(chunk(sign, unit, [(9, 0), (9, 0)], 10), Err(Defect::Order));
        assert_eq!(chunk(sign, unit, [(9, 0), (3, 0)], 10), Err(Defect::Order));
        assert_eq!(chunk(sign, unit, [(3, 0), (10, 0)], 10), Err(Defect::Position));
        assert_eq!(chunk(sign, unit, [(0, 0), (9, 0)], 1), Err(Defect::Padding));
        // High below low, infinite, NaN, negative, subnormal, too large.
        for scale in [0x3F80_4000, 0x7F80_3F80, 0x7FC0_3F80, 0xBF80_BF80, 0x0001_0001, 0x4E81_3F80] {
            assert_eq!(chunk(sign, scale, [(0, 0), (9, 0)], 10), Err(Defect::Scale), "{scale:x}");
        }
        let int8 = packed(Quantizer::Int8);
        assert_eq!(chunk(int8, one, [(0, 0x80), (9, 0)], 10), Err(Defect::CodeUnused));
        assert_eq!(chunk(int8, LARGEST.to_bits(), [(0, 2), (9, 0)], 10), Err(Defect::Scale));
        for scale in [f32::NAN, -1.0, f32::INFINITY, 1e-30] {
            assert_eq!(chunk(int8, scale.to_bits(), [(0, 0), (9, 0)], 10), Err(Defect::Scale));
        }
        for x in [f32::NAN, f32::INFINITY, -0.0, 1e-30, -2e9] {
            let none = packed(Quantizer::None);
            assert_eq!(chunk(none, 0, [(0, one), (9, x.to_bits())], 10), Err(Defect::Value));
            let levels = [1f32, 2.0, x, 3.0].map(f32::to_bits);
            let reference = packed(Quantizer::Reference);
            assert_eq!(reference.check_levels(&|i| levels[i]), Err(Defect::Value));
        }
        let fano = layout(Quantizer::SignMagnitude, IndexCodec::EliasFano);
        let mut words = vec![0; fano.words_per_chunk()];
        fano.pack_chunk(unit, [(5, 0), (6, 0)], &mut words);
        words[fano.highs().start] |= 1 << 3;
        assert_eq!(decode(&fano, &words, 4096), Err(Defect::Population));
        fano.pack_chunk(unit, [(5, 0), (5, 0)], &mut words);
        assert_eq!(decode(&fano, &words, 4096), Err(Defect::Order));
    }
}
