//! Selection held against a reference that sorts.

mod exact;
mod quotas;
mod sampling;
mod states;

use gristmill_core::hash::hash64;
use gristmill_select::{Counts, Criteria, Cut, Item, Selector, Tally, id_hash};

/// A document of the tests.
#[derive(Debug, Clone)]
pub(crate) struct Doc {
    pub(crate) id: String,
    pub(crate) score: f64,
    pub(crate) tokens: u64,
    pub(crate) bytes: u64,
    pub(crate) group: Option<String>,
}

impl Doc {
    pub(crate) fn new(id: impl ToString, score: f64, tokens: u64) -> Self {
        Self { id: id.to_string(), score, tokens, bytes: 5 * tokens + 1, group: None }
    }

    pub(crate) fn item(&self, shard: u32, row: u64) -> Item<'_> {
        Item {
            score: self.score,
            id_hash: id_hash(&self.id),
            shard,
            row,
            counts: Counts::one(self.tokens, self.bytes),
            group: self.group.as_deref(),
        }
    }
}

/// Runs a selection in one piece and gives the rows that are kept, after checking the books.
pub(crate) fn select(criteria: &Criteria, docs: &[Doc]) -> Vec<usize> {
    let cut = Selector::run(criteria.clone(), |pass| {
        docs.iter().enumerate().try_for_each(|(row, d)| pass.add(&d.item(0, row as u64)))
    })
    .unwrap();
    kept(&cut, docs)
}

pub(crate) fn kept(cut: &Cut, docs: &[Doc]) -> Vec<usize> {
    let mut tally = Tally::default();
    let mut kept = Vec::new();
    for (row, d) in docs.iter().enumerate() {
        let item = d.item(0, row as u64);
        tally.read += item.counts;
        if !d.score.is_nan() && (d.tokens > 0 || d.bytes > 0) {
            tally.scored += item.counts;
        }
        tally.settle(cut.verdict(&item), item.counts);
        if cut.keeps(&item) {
            kept.push(row);
        }
    }
    cut.check(&tally).unwrap();
    kept
}

/// The documented tie hash, written out again.
pub(crate) fn tie(seed: u64, id: &str) -> u64 {
    hash64(seed, &hash64(0, id.as_bytes()).to_le_bytes())
}
