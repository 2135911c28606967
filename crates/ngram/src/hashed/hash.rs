//! N-grams to buckets. These values are part of saved scores: they never change.

use gristmill_core::hash::hash64;
use sha2::{Digest, Sha256};

/// Buckets of all n-grams that end at each word pushed, from the words' own hashes.
///
/// The hash of an n-gram folds its word hashes from the newest to the oldest, so each longer n-gram costs one
/// multiplication more.
pub(super) struct NgramHasher {
    seed: u64,
    buckets: u64,
    /// Hashes of the words before, newest first.
    before: [u64; super::MAX_NGRAMS - 1],
    /// How many of them there are, and can be.
    known: usize,
    most: usize,
}

impl NgramHasher {
    pub(super) fn new(seed: u64, ngrams: usize, buckets: usize) -> Self {
        Self { seed, buckets: buckets as u64, before: [0; super::MAX_NGRAMS - 1], known: 0, most: ngrams - 1 }
    }

    #[inline]
    pub(super) fn push(&mut self, word: &str, f: &mut impl FnMut(usize)) {
        let hash = hash64(self.seed, word.as_bytes());
        f(self.bucket(hash));
        let mut ngram = hash;
        for older in &self.before[..self.known] {
            ngram = fold(ngram, *older);
            f(self.bucket(ngram));
        }
        if self.most > 0 {
            self.known = (self.known + 1).min(self.most);
            self.before.copy_within(..self.most - 1, 1);
            self.before[0] = hash;
        }
    }

    /// The hash as a fraction of 2^64, scaled: uniform for any number of buckets, without a division.
    #[inline]
    fn bucket(&self, hash: u64) -> usize {
        ((u128::from(hash) * u128::from(self.buckets)) >> 64) as usize
    }
}

/// Mixes two hashes, not symmetrically.
#[inline]
fn fold(newer: u64, older: u64) -> u64 {
    let product = u128::from(newer ^ 0x9E37_79B9_7F4A_7C15) * u128::from(older ^ 0xD1B5_4A32_D192_ED03);
    (product as u64) ^ (product >> 64) as u64
}

/// SHA-256 as a big-endian number, modulo `n`.
pub(super) fn sha256_mod(bytes: &[u8], n: usize) -> usize {
    let digest = Sha256::digest(bytes);
    let n = n as u128;
    let step = |rest: u128, word: &[u8]| {
        let word = u64::from_be_bytes(word.try_into().expect("chunks of 8"));
        ((rest << 64) | u128::from(word)) % n
    };
    digest.chunks_exact(8).fold(0, step) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by CPython: `int(hashlib.sha256(w.encode()).hexdigest(), 16) % n`.
    #[test]
    fn sha256_is_reduced_as_one_number() {
        assert_eq!(sha256_mod(b"the", 10_000), 8_288);
        assert_eq!(sha256_mod("naïve café".as_bytes(), 10_000), 3_602);
        assert_eq!(sha256_mod(b"", 999_983), 877_060);
    }

    #[test]
    fn folding_depends_on_the_order() {
        assert_ne!(fold(1, 2), fold(2, 1));
    }
}
