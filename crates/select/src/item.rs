use gristmill_core::Counts;
use gristmill_core::hash::{hash64, unit_open};

/// What selection needs to know of one document.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Item<'a> {
    /// The score. NaN says that there is none.
    pub score: f64,
    /// [`id_hash`] of the document's id.
    pub id_hash: u64,
    /// Input shard, numbered alike in every pass.
    pub shard: u32,
    /// Row in the input shard.
    pub row: u64,
    /// One document with its tokens and bytes.
    pub counts: Counts,
    /// Value of the group column; `None` for a null or when there is no such column.
    pub group: Option<&'a str>,
}

/// The hash by which documents are told apart: ties and noise follow from it and the seed alone.
#[inline]
pub fn id_hash(id: &str) -> u64 {
    hash64(0, id.as_bytes())
}

/// Place of a document in the order of selection: score, tie hash, shard and row, each as an integer of which
/// more is better. The greatest key is selected first, and no two documents share one.
pub(crate) type Key = [u64; 4];

/// A key is searched in digits of 16 bits, most significant first.
pub(crate) const DIGITS: usize = 16;

/// The digits that hold the score.
pub(crate) const SCORE_DIGITS: usize = 4;

#[inline]
pub(crate) fn digit(key: &Key, at: usize) -> u16 {
    (key[at / 4] >> (48 - 16 * (at % 4))) as u16
}

/// The leading digits that all keys in question share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// Zero behind the digits.
    key: Key,
    digits: usize,
}

impl Prefix {
    pub(crate) fn digits(&self) -> usize {
        self.digits
    }

    pub(crate) fn push(&mut self, digit: u16) {
        self.key[self.digits / 4] |= u64::from(digit) << (48 - 16 * (self.digits % 4));
        self.digits += 1;
    }

    /// The least key with these digits.
    pub(crate) fn least(&self) -> Key {
        self.key
    }

    /// The greatest key with these digits.
    pub(crate) fn greatest(&self) -> Key {
        let mut key = self.key;
        for (word, k) in key.iter_mut().enumerate() {
            *k |= !mask(self.digits, word);
        }
        key
    }

    #[inline]
    pub(crate) fn matches(&self, key: &Key) -> bool {
        (0..4).all(|word| (key[word] ^ self.key[word]) & mask(self.digits, word) == 0)
    }
}

/// The bits of a word that belong to the first digits.
#[inline]
fn mask(digits: usize, word: usize) -> u64 {
    match digits.saturating_sub(4 * word) {
        0 => 0,
        within @ 1..=3 => !(u64::MAX >> (16 * within)),
        _ => u64::MAX,
    }
}

// Noise and ties must not depend on each other: a document that draws a high number would otherwise also
// win its ties.
const NOISE_STREAM: u64 = 0x6E6F_6973_6521_0001;

/// Turns documents into keys: direction, noise and seed of one selection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ranking {
    pub(crate) lowest: bool,
    pub(crate) temperature: Option<f64>,
    pub(crate) seed: u64,
}

impl Ranking {
    /// The number by which documents are ranked, highest first. Never NaN when the score is not.
    #[inline]
    fn rank(&self, item: &Item<'_>) -> f64 {
        let score = if self.lowest { -item.score } else { item.score };
        match self.temperature {
            None => score,
            Some(temperature) => score / temperature + gumbel(self.seed, item.id_hash),
        }
    }

    /// The first word of the key, which is all that most documents are asked for.
    #[inline]
    pub(crate) fn score_key(&self, item: &Item<'_>) -> u64 {
        ordered(self.rank(item))
    }

    #[inline]
    pub(crate) fn key(&self, item: &Item<'_>) -> Key {
        let tie = hash64(self.seed, &item.id_hash.to_le_bytes());
        // Complements, so that the first shard and row come first among documents of one id.
        [self.score_key(item), tie, !u64::from(item.shard), !item.row]
    }
}

/// Maps numbers to integers of the same order; the two zeros are one number, hence one integer.
#[inline]
fn ordered(value: f64) -> u64 {
    // -0.0 + 0.0 is +0.0, and nothing else changes.
    let bits = (value + 0.0).to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

/// Standard Gumbel noise of a document: `-ln(-ln u)`, with `u` from a hash of seed and id.
///
/// The logarithm is libm's in Rust and not the platform's, so that every machine draws the same numbers to
/// the last bit.
#[inline]
fn gumbel(seed: u64, id_hash: u64) -> f64 {
    let uniform = unit_open(hash64(seed ^ NOISE_STREAM, &id_hash.to_le_bytes()));
    -libm::log(-libm::log(uniform))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_ordered_as_the_numbers_are() {
        let ascending = [
            f64::NEG_INFINITY,
            f64::MIN,
            -1.0,
            -f64::MIN_POSITIVE,
            -5e-324,
            0.0,
            5e-324,
            f64::MIN_POSITIVE,
            1.0,
            1.0 + f64::EPSILON,
            f64::MAX,
            f64::INFINITY,
        ];
        for pair in ascending.windows(2) {
            assert!(ordered(pair[0]) < ordered(pair[1]), "{pair:?}");
        }
        assert_eq!(ordered(-0.0), ordered(0.0));
    }

    #[test]
    fn a_prefix_spans_the_keys_that_it_matches() {
        let key: Key = [0x0123_4567_89AB_CDEF, u64::MAX, 0, 0x8000_0000_0000_0001];
        let mut prefix = Prefix::default();
        assert!(prefix.matches(&key) && prefix.least() == [0; 4] && prefix.greatest() == [u64::MAX; 4]);
        for at in 0..DIGITS {
            prefix.push(digit(&key, at));
            let (least, greatest) = (prefix.least(), prefix.greatest());
            assert!(least <= key && key <= greatest && prefix.matches(&least) && prefix.matches(&greatest));
            let mut other = key;
            other[at / 4] ^= 1 << (48 - 16 * (at % 4));
            assert!(!prefix.matches(&other) && (other < least || other > greatest), "digit {at}");
        }
        assert_eq!((prefix.least(), prefix.greatest()), (key, key));
    }

    #[test]
    fn the_first_shard_and_row_win_among_equals() {
        let ranking = Ranking { lowest: false, temperature: None, seed: 1 };
        let item =
            |shard, row| Item { score: 1.0, id_hash: 7, shard, row, counts: Counts::one(1, 1), group: None };
        let keys =
            [(0, 0), (0, 1), (0, 1 << 40), (1, 0), (u32::MAX, 5)].map(|(s, r)| ranking.key(&item(s, r)));
        assert!(keys.windows(2).all(|w| w[0] > w[1]));
    }

    /// Mean and variance of the standard Gumbel distribution are 0.5772 and pi^2/6.
    #[test]
    fn noise_is_gumbel() {
        let n = 200_000u64;
        let draws: Vec<f64> = (0..n).map(|i| gumbel(3, i)).collect();
        let mean = draws.iter().sum::<f64>() / n as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
        assert!((mean - 0.577_215_66).abs() < 0.01, "{mean}");
        assert!((variance - 1.644_934).abs() < 0.02, "{variance}");
        assert!(gumbel(0, 0).is_finite());
    }

    #[test]
    fn noise_is_the_same_on_every_machine() {
        // Python, with the xxhash package:
        //   id = xxh3_64_intdigest(b"doc-1", seed=0)
        //   h = xxh3_64_intdigest(id.to_bytes(8, "little"), seed=42 ^ 0x6E6F697365210001)
        //   -math.log(-math.log(((h >> 12) + 0.5) * 2.0**-52))
        assert_eq!(gumbel(42, id_hash("doc-1")).to_bits(), 0x3FAE_54B6_B287_24B1);
    }
}
