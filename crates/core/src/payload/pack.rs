use super::{IndexCodec, PayloadLayout};

/// Sets bits from bit `at` on, which were 0; `value` has no bit beyond `bits`.
fn set(words: &mut [u32], at: usize, bits: usize, value: u32) {
    if bits == 0 {
        return;
    }
    let (i, shift) = (at / 32, at % 32);
    let two = u64::from(value) << shift;
    words[i] |= two as u32;
    if shift + bits > 32 {
        words[i + 1] |= (two >> 32) as u32;
    }
}

impl PayloadLayout {
    /// Writes the words of a chunk from its entries: positions and codes in ascending order of position, and the word
    /// of its scale (without effect where there is none). The plain counterpart of
    /// [`decode_chunk`](Self::decode_chunk); nothing is checked.
    ///
    /// # Panics
    /// When there are more entries than the layout has room for, or not [`words_per_chunk`](Self::words_per_chunk)
    /// words.
    pub fn pack_chunk(&self, scale: u32, entries: impl IntoIterator<Item = (usize, u32)>, words: &mut [u32]) {
        assert_eq!(words.len(), self.words_per_chunk());
        words.fill(0);
        words[..self.scale_words()].fill(scale);
        let bits = self.low_bits() as usize;
        for (i, (position, code)) in entries.into_iter().enumerate() {
            assert!(i < self.k());
            set(words, 32 * self.codes().start + i * self.code_bits(), self.code_bits(), code);
            set(words, 32 * self.lows().start + i * bits, bits, position as u32 & ((1 << bits) - 1));
            if self.indices() == IndexCodec::EliasFano {
                set(words, 32 * self.highs().start + (position >> bits) + i, 1, 1);
            }
        }
    }
}
