//! Estimation against `lmplz`, against its definitions written out naively, and against numbers from paper.

mod by_hand;
mod limits;
mod lmplz;
mod naive;

use gristmill_core::{Control, Result};
use gristmill_ngram::estimate::{Estimate, Estimator, Options};
use gristmill_ngram::tables::Tables;
use gristmill_ngram::vocab::WordId;

/// Estimates from lines of words between spaces.
fn estimate(text: &str, options: Options) -> Result<Estimate> {
    let mut estimator = Estimator::new(options)?;
    for line in text.lines() {
        let words: Vec<WordId> = line.split_whitespace().map(|w| estimator.vocab_mut().intern(w)).collect();
        estimator.add_sentence(&words)?;
    }
    estimator.finish(&Control::default())
}

/// Every n-gram of order `n` as text, with its log10 probability and backoff (0 at the highest order).
fn rows(estimate: &Estimate, n: usize) -> impl Iterator<Item = (String, f32, f32)> + use<> {
    let Tables { vocab, mut orders } = estimate.trie.to_tables();
    let table = orders.swap_remove(n - 1);
    (0..table.len()).map(move |row| {
        let words: Vec<_> = table.words[row * n..][..n].iter().map(|id| vocab.word(*id)).collect();
        (words.join(" "), table.prob[row], table.backoff.get(row).copied().unwrap_or(0.0))
    })
}

/// Whether two models are the same to the last bit.
fn assert_identical(a: &Estimate, b: &Estimate) {
    assert_eq!(a.orders, b.orders);
    assert!(a.trie.vocab().iter().eq(b.trie.vocab().iter()));
    for (n, (a, b)) in (1..).zip(a.trie.to_tables().orders.iter().zip(&b.trie.to_tables().orders)) {
        assert!(a == b, "tables of order {n} differ");
    }
}
