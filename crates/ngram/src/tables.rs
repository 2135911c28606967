//! A language model as plain sorted tables: what estimation produces and what every file form is
//! written from or read into.

use crate::vocab::{Vocab, WordId};

/// All n-grams of one order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OrderTable {
    /// Words of each n-gram, oldest first, `order` ids a row; rows ascend lexicographically.
    pub words: Vec<WordId>,
    /// log10 probability of each row.
    pub prob: Vec<f32>,
    /// log10 backoff weight of each row; empty for the highest order.
    pub backoff: Vec<f32>,
}

impl OrderTable {
    /// Number of n-grams.
    pub fn len(&self) -> usize {
        self.prob.len()
    }

    /// Whether there is no n-gram of this order.
    pub fn is_empty(&self) -> bool {
        self.prob.is_empty()
    }
}

/// A backoff n-gram model: `orders[n - 1]` holds the n-grams of length n.
#[derive(Clone)]
pub struct Tables {
    /// Words and their ids.
    pub vocab: Vocab,
    /// One table an order, unigrams first.
    pub orders: Vec<OrderTable>,
}
