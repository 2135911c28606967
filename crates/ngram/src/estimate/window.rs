//! The unit of counting: what follows one position of the text.

use crate::vocab::{EOS, WordId};

/// The highest order that can be estimated (and that KenLM reads as it is usually compiled).
pub const MAX_ORDER: usize = 6;

/// The words from one position of the text on: as many as the order, fewer where the sentence ends.
///
/// All n-grams of all orders that start at the position are its prefixes, so sorted windows with their
/// counts are the whole table of raw counts. What follows `</s>` is zero and means nothing; since `</s>`
/// comes nowhere else, windows still compare word by word as their n-grams do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Window(pub(super) [WordId; MAX_ORDER]);

impl Window {
    /// Number of words: up to `</s>` or the order.
    #[inline]
    pub(super) fn len(&self, order: usize) -> usize {
        self.0[..order].iter().position(|w| *w == EOS).map_or(order, |at| at + 1)
    }
}

/// The words of a window after the first, packed so that one comparison compares them all.
pub(super) trait Key: Copy + Ord + Send + Sync {
    /// No words.
    const EMPTY: Self;
    /// Appends a word of at most `bits` bits.
    fn push(self, word: WordId, bits: u32) -> Self;
    /// Removes the last word.
    fn pop(self, bits: u32) -> (Self, WordId);
}

macro_rules! integer_key {
    ($type:ty) => {
        impl Key for $type {
            const EMPTY: Self = 0;
            #[inline(always)]
            fn push(self, word: WordId, bits: u32) -> Self {
                self << bits | <$type>::from(word)
            }
            #[inline(always)]
            fn pop(self, bits: u32) -> (Self, WordId) {
                (self >> bits, (self & ((1 << bits) - 1)) as WordId)
            }
        }
    };
}
integer_key!(u64);
integer_key!(u128);

/// For vocabularies too large for the packed forms.
impl Key for [WordId; MAX_ORDER - 1] {
    const EMPTY: Self = [0; MAX_ORDER - 1];
    #[inline(always)]
    fn push(mut self, word: WordId, _bits: u32) -> Self {
        self.rotate_left(1);
        self[MAX_ORDER - 2] = word;
        self
    }
    #[inline(always)]
    fn pop(mut self, _bits: u32) -> (Self, WordId) {
        let word = self[MAX_ORDER - 2];
        self.rotate_right(1);
        self[0] = 0;
        (self, word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<K: Key>(words: &[WordId], bits: u32) {
        let mut key = words.iter().fold(K::EMPTY, |k, w| k.push(*w, bits));
        for expected in words.iter().rev() {
            let (rest, word) = key.pop(bits);
            assert_eq!(word, *expected);
            key = rest;
        }
        assert!(key == K::EMPTY);
    }

    #[test]
    fn keys_give_back_their_words() {
        round_trip::<u64>(&[7, 0, 8191, 4096], 13);
        round_trip::<u128>(&[1 << 24, 3, 0, 99, (1 << 25) - 1], 25);
        round_trip::<[WordId; 5]>(&[u32::MAX, 0, 5, u32::MAX - 1, 1], 32);
    }

    #[test]
    fn keys_compare_as_their_words() {
        fn ascends<K: Key>(bits: u32) {
            let key = |words: [WordId; 3]| words.iter().fold(K::EMPTY, |k, w| k.push(*w, bits));
            assert!(key([1, 9, 9]) < key([2, 0, 0]));
            assert!(key([2, 0, 7]) < key([2, 1, 0]));
            assert!(key([2, 0, 7]) == key([2, 0, 7]));
        }
        ascends::<u64>(4);
        ascends::<u128>(4);
        ascends::<[WordId; 5]>(4);
    }

    #[test]
    fn a_window_ends_with_its_sentence() {
        assert_eq!(Window([5, 6, EOS, 0, 0, 0]).len(5), 3);
        assert_eq!(Window([EOS, 0, 0, 0, 0, 0]).len(5), 1);
        assert_eq!(Window([5, 6, 7, EOS, 0, 0]).len(3), 3);
    }
}
