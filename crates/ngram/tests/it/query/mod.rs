//! Models: their files and their queries.

mod files;
mod hostile;
mod kenlm;
mod reference;

use gristmill_ngram::tables::{OrderTable, Tables};
use gristmill_ngram::vocab::{BOS, EOS, Vocab, WordId};

/// A small generator of numbers, so that a model follows from a seed.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((u128::from(self.0 ^ (self.0 >> 29)) * u128::from(n)) >> 64) as u64
    }

    /// A number in [low, high) with many digits.
    pub(crate) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.below(1 << 24) as f32 / (1 << 24) as f32)
    }
}

/// A random model: any word of `words` after any context, which is in the model itself. Suffixes may be
/// missing, as in a model pruned by entropy. Backoffs above 0 are rare and small, as in real models: no sum
/// gets above 0.
pub(crate) fn random_tables(seed: u64, order: usize, words: usize) -> Tables {
    let mut numbers = Numbers(seed);
    let mut vocab = Vocab::new();
    for i in 0..words {
        vocab.intern(&format!("w{i}"));
    }
    let with_unk = numbers.below(3) > 0;
    let mut orders: Vec<OrderTable> = Vec::new();
    for n in 1..=order {
        let mut rows = OrderTable::default();
        let contexts: Vec<&[WordId]> =
            orders.last().map_or(vec![&[][..]], |lower| lower.words.chunks_exact(n - 1).collect());
        for context in contexts {
            for word in 0..vocab.len() as WordId {
                let keep = match n {
                    1 => word > 0 || with_unk,
                    _ => word != BOS && context.last() != Some(&EOS) && numbers.below(3) == 0,
                };
                if keep {
                    rows.words.extend_from_slice(context);
                    rows.words.push(word);
                    rows.prob.push(if word == BOS { -99.0 } else { numbers.between(-6.0, -0.5) });
                    if n < order {
                        let backoff = numbers.between(-2.0, 0.05);
                        rows.backoff.push(if numbers.below(4) == 0 { 0.0 } else { backoff });
                    }
                }
            }
        }
        orders.push(rows);
    }
    Tables { vocab, orders }
}

/// Random ids, some of them `</s>` or beyond the vocabulary.
pub(crate) fn random_ids(seed: u64, length: usize, words: usize) -> Vec<WordId> {
    let mut numbers = Numbers(seed);
    (0..length)
        .map(|_| match numbers.below(20) {
            0 => EOS,
            1 => WordId::MAX - numbers.below(3) as WordId,
            _ => numbers.below(words as u64 + 4) as WordId,
        })
        .map(|id| if id == BOS { 0 } else { id })
        .collect()
}
