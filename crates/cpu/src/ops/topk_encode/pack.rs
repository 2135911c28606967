use gristmill_core::payload::{
    IndexCodec, MAX_CHUNK, PayloadLayout, Quantizer, fit_magnitudes, fit_step, settle,
};

use crate::ops::lanes::dispatch;

/// Quantises and packs the entries of chunks.
pub(super) struct Packer {
    layout: PayloadLayout,
    magnitudes: Vec<f32>,
    codes: Vec<u32>,
}

/// Fills words with bits from the least significant on.
struct Bits<'a> {
    words: std::slice::IterMut<'a, u32>,
    pending: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    fn new(words: &'a mut [u32]) -> Self {
        Self { words: words.iter_mut(), pending: 0, count: 0 }
    }

    #[inline(always)]
    fn push(&mut self, value: u32, bits: u32) {
        self.pending |= u64::from(value) << self.count;
        self.count += bits;
        if self.count >= 32 {
            self.word();
            self.count -= 32;
        }
    }

    #[inline(always)]
    fn word(&mut self) {
        if let Some(word) = self.words.next() {
            *word = self.pending as u32;
        }
        self.pending >>= 32;
    }

    /// What is pending, and zeros for the rest.
    fn finish(mut self) {
        self.word();
        self.words.for_each(|word| *word = 0);
    }
}

impl Packer {
    pub(super) fn new(layout: PayloadLayout) -> Self {
        Self { layout, magnitudes: vec![0.0; MAX_CHUNK], codes: vec![0; MAX_CHUNK] }
    }

    /// Writes the words of a chunk, and leaves at the positions what they do not say.
    pub(super) fn pack(&mut self, acc: &mut [f32; MAX_CHUNK], positions: &[u16], words: &mut [u32]) {
        for (magnitude, &p) in self.magnitudes.iter_mut().zip(positions) {
            *magnitude = acc[usize::from(p)].abs();
        }
        match self.layout.quantizer() {
            Quantizer::SignMagnitude => self.sign_magnitude(acc, positions, words),
            Quantizer::Int8 => self.int8(acc, positions, words),
            Quantizer::None | Quantizer::Reference => {
                let mut codes = Bits::new(&mut words[self.layout.codes()]);
                for &p in positions {
                    codes.push(std::mem::take(&mut acc[usize::from(p)]).to_bits(), 32);
                }
                codes.finish();
            }
        }
        self.positions(positions, words);
    }

    fn sign_magnitude(&mut self, acc: &mut [f32; MAX_CHUNK], positions: &[u16], words: &mut [u32]) {
        let (magnitudes, high) = (&self.magnitudes[..positions.len()], &mut self.codes[..positions.len()]);
        let scale = dispatch(
            #[inline(always)]
            || fit_magnitudes(magnitudes, high),
        );
        words[0] = scale;
        let pair = [scale << 16, scale & 0xFFFF_0000];
        let mut codes = Bits::new(&mut words[self.layout.codes()]);
        for (&high, &p) in high.iter().zip(positions) {
            let acc = &mut acc[usize::from(p)];
            let sign = acc.to_bits() >> 31;
            codes.push(high << 1 | sign, 2);
            *acc = settle(*acc - f32::from_bits(pair[high as usize] | sign << 31));
        }
        codes.finish();
    }

    fn int8(&mut self, acc: &mut [f32; MAX_CHUNK], positions: &[u16], words: &mut [u32]) {
        let greatest = self.magnitudes[..positions.len()].iter().copied().fold(0.0, f32::max);
        let (step, count) = fit_step(greatest);
        words[0] = step.to_bits();
        let mut codes = Bits::new(&mut words[self.layout.codes()]);
        for (&magnitude, &p) in self.magnitudes.iter().zip(positions) {
            let acc = &mut acc[usize::from(p)];
            let count = count(magnitude) as i32;
            let signed = if acc.is_sign_negative() { -count } else { count };
            codes.push(signed as u32 & 0xFF, 8);
            *acc = settle(*acc - settle(signed as f32 * step));
        }
        codes.finish();
    }

    fn positions(&self, positions: &[u16], words: &mut [u32]) {
        let low_bits = self.layout.low_bits();
        let mask = (1 << low_bits) - 1;
        let mut lows = Bits::new(&mut words[self.layout.lows()]);
        for &p in positions {
            lows.push(u32::from(p) & mask, low_bits);
        }
        lows.finish();
        if self.layout.indices() == IndexCodec::EliasFano {
            let highs = &mut words[self.layout.highs()];
            highs.fill(0);
            for (i, &p) in positions.iter().enumerate() {
                let bit = usize::from(p >> low_bits) + i;
                highs[bit / 32] |= 1 << (bit % 32);
            }
        }
    }
}
