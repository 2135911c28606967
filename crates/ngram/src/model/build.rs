//! From n-grams to the tables of a [`Model`].
//!
//! Orders come in ascending, so that each n-gram finds the two shorter ones that it says something about:
//! its suffix (without the oldest word) learns that it extends to the left, its context (without the
//! newest) that it extends to the right. A lookup stops where neither holds.
//!
//! Models pruned by entropy may keep an n-gram and drop its suffix. The lookup, which goes from suffix to
//! n-gram, would miss it, so the suffix is put back as a *blank*, with the probability that backing off
//! would give it. KenLM does the same.

use gristmill_core::{Code, Error, Result};

use super::lexicon::Lexicon;
use super::table::{LongestLine, MiddleLine, Table};
use super::{MAX_ORDER, Model, ModelMeta, NO_EXTENSION, Weights, chain, has_extension};
use crate::tables::OrderTable;
use crate::vocab::{BOS, EOS, WordId};

/// log10 probability of an unknown word in a model without `<unk>`, as in KenLM.
const UNKNOWN_LOG10: f32 = -100.0;
/// Rows whose table lines are asked for together.
const BATCH: usize = 32;

pub(crate) struct Builder {
    order: usize,
    unigrams: Vec<Weights>,
    present: Vec<bool>,
    middle: Vec<Table<MiddleLine>>,
    longest: Table<LongestLine>,
}

impl Builder {
    /// A builder for a model of this order over `words` word ids.
    pub(crate) fn new(order: usize, words: usize) -> Result<Self> {
        if !(1..=MAX_ORDER).contains(&order) {
            return Err(Error::new(Code::InvalidModel, format!("order {order} is not in 1..={MAX_ORDER}")));
        }
        let mut unigrams = Vec::new();
        let mut present = Vec::new();
        if unigrams.try_reserve_exact(words).is_err() || present.try_reserve_exact(words).is_err() {
            return Err(Error::new(Code::OutOfMemory, format!("no memory for {words} words")));
        }
        unigrams.resize(words, Weights { prob: -UNKNOWN_LOG10.abs(), backoff: NO_EXTENSION });
        present.resize(words, false);
        Ok(Self { order, unigrams, present, middle: Vec::new(), longest: Table::with_capacity(0)? })
    }

    /// Lays out the table of an order, 2 or more, for `entries` n-grams. Orders must come in turn.
    pub(crate) fn start_order(&mut self, n: usize, entries: usize) -> Result<()> {
        if n == self.order {
            self.longest = Table::with_capacity(entries)?;
        } else {
            debug_assert_eq!(self.middle.len() + 2, n);
            self.middle.push(Table::with_capacity(entries)?);
        }
        Ok(())
    }

    /// Sets a unigram as it is: the sign of `prob` and the backoff tell already what it extends to.
    pub(crate) fn set_unigram(&mut self, word: WordId, weights: Weights) {
        self.unigrams[word as usize] = weights;
        self.present[word as usize] = true;
    }

    /// Adds an n-gram of a middle order as it is.
    pub(crate) fn insert_middle(&mut self, n: usize, key: u64, weights: Weights) -> Result<()> {
        self.middle[n - 2].insert(key, weights)
    }

    /// Adds an n-gram of the highest order.
    pub(crate) fn insert_longest(&mut self, key: u64, prob: f32) -> Result<()> {
        self.longest.insert(key, prob)
    }

    /// Adds all n-grams of the next order.
    pub(crate) fn add_order(&mut self, n: usize, rows: &OrderTable) -> Result<()> {
        check_shape(n, self.order, rows)?;
        if n == 1 {
            return self.add_unigrams(rows);
        }
        self.start_order(n, rows.len())?;
        let bound = self.unigrams.len() as WordId;
        let mut previous: &[WordId] = &[];
        for (b, batch) in rows.words.chunks(BATCH * n).enumerate() {
            let mut keys = [Keys::default(); BATCH];
            for (keys, words) in keys.iter_mut().zip(batch.chunks_exact(n)) {
                if let Some(word) = words.iter().find(|w| **w >= bound) {
                    return Err(Error::new(
                        Code::InvalidModel,
                        format!("word id {word} is not below {bound}"),
                    ));
                }
                *keys = Keys::of(words);
                keys.new_context = previous.len() < n || previous[..n - 1] != words[..n - 1];
                previous = words;
                self.prefetch(n, keys);
            }
            for (i, (keys, words)) in keys.iter().zip(batch.chunks_exact(n)).enumerate() {
                let row = b * BATCH + i;
                self.add(n, keys, words, rows.prob[row], rows.backoff.get(row).copied())?;
            }
        }
        Ok(())
    }

    fn add_unigrams(&mut self, rows: &OrderTable) -> Result<()> {
        for (row, word) in rows.words.iter().enumerate() {
            if *word as usize >= self.unigrams.len() || self.present[*word as usize] {
                let message = format!("word id {word} is out of range or has two unigrams");
                return Err(Error::new(Code::InvalidModel, message));
            }
            let backoff = rows.backoff.get(row).copied().unwrap_or(0.0);
            self.set_unigram(*word, weights(rows.prob[row], backoff)?);
        }
        match self.present.iter().skip(1).position(|p| !p) {
            None => Ok(()),
            Some(at) => Err(match at as WordId + 1 {
                BOS => Error::new(Code::InvalidModel, "the model has no unigram for <s>"),
                EOS => Error::new(Code::InvalidModel, "the model has no unigram for </s>"),
                id => Error::new(Code::InvalidModel, format!("the word with id {id} has no unigram")),
            }),
        }
    }

    fn prefetch(&self, n: usize, keys: &Keys) {
        match self.middle.get(n - 2) {
            Some(table) => table.prefetch(keys.own),
            None => self.longest.prefetch(keys.own),
        }
        if n > 2 {
            self.middle[n - 3].prefetch(keys.suffix);
            if keys.new_context {
                self.middle[n - 3].prefetch(keys.context);
            }
        }
    }

    fn add(
        &mut self,
        n: usize,
        keys: &Keys,
        words: &[WordId],
        prob: f32,
        backoff: Option<f32>,
    ) -> Result<()> {
        let weights = weights(prob, backoff.unwrap_or(0.0))?;
        if n == self.order {
            self.longest.insert(keys.own, weights.prob)?;
        } else {
            self.middle[n - 2].insert(keys.own, weights)?;
        }
        if keys.new_context && !self.extend_right(&words[..n - 1], keys.context) {
            let message = format!("a {n}-gram is there without its context as a {}-gram", n - 1);
            return Err(Error::new(Code::InvalidModel, message)
                .hint("every n-gram without its last word must be in the model too"));
        }
        self.extend_left(&words[1..], keys.suffix)?;
        Ok(())
    }

    /// Marks an n-gram as the context of longer ones; `false` when it is absent.
    fn extend_right(&mut self, words: &[WordId], key: u64) -> bool {
        let mark = |w: &mut Weights| {
            if w.backoff == 0.0 {
                w.backoff = 0.0;
            }
        };
        match words {
            [word] => {
                mark(&mut self.unigrams[*word as usize]);
                true
            }
            _ => self.middle[words.len() - 2].update(key, mark).is_some(),
        }
    }

    /// Marks an n-gram as the suffix of longer ones, put back as a blank when absent. Returns its log10
    /// probability. (Like KenLM, this takes the logarithm of a blank for negative, which it is in any model
    /// that is a distribution.)
    fn extend_left(&mut self, words: &[WordId], key: u64) -> Result<f32> {
        let mark = |w: &mut Weights| {
            w.prob = w.prob.abs();
            -w.prob
        };
        if let [word] = words {
            return Ok(mark(&mut self.unigrams[*word as usize]));
        }
        if let Some(prob) = self.middle[words.len() - 2].update(key, mark) {
            return Ok(prob);
        }
        let lower = self.extend_left(&words[1..], chain(&words[1..]))?;
        let context = &words[..words.len() - 1];
        let context_key = chain(context);
        let backoff = match context {
            [word] => self.unigrams[*word as usize].backoff,
            _ => self.middle[context.len() - 2].get(context_key).map_or(0.0, |w| w.backoff),
        };
        self.extend_right(context, context_key);
        let prob = lower + backoff;
        self.middle[words.len() - 2].insert(key, Weights { prob: prob.abs(), backoff: NO_EXTENSION })?;
        Ok(prob)
    }

    /// The model. `sha256` is that of its file, where it has one.
    pub(crate) fn finish(self, lexicon: Lexicon, meta: ModelMeta, sha256: Option<String>) -> Model {
        let (bos, eos) = lexicon.sentence_markers();
        debug_assert!(bos.max(eos) < self.unigrams.len() as WordId);
        Model {
            order: self.order,
            unigrams: self.unigrams,
            middle: self.middle,
            longest: self.longest,
            bos,
            eos,
            lexicon,
            meta,
            sha256,
        }
    }
}

/// The three keys that an n-gram touches.
#[derive(Clone, Copy, Default)]
struct Keys {
    own: u64,
    suffix: u64,
    context: u64,
    /// Whether the row before had another context.
    new_context: bool,
}

impl Keys {
    fn of(words: &[WordId]) -> Self {
        let suffix = chain(&words[1..]);
        let own = super::extend_key(suffix, words[0]);
        Self { own, suffix, context: chain(&words[..words.len() - 1]), new_context: true }
    }
}

/// Weights of an n-gram that is not known to extend anywhere yet.
fn weights(prob: f32, backoff: f32) -> Result<Weights> {
    if prob.is_nan() || prob > 0.0 {
        let message = format!("{prob} is not the logarithm of a probability");
        return Err(Error::new(Code::InvalidModel, message));
    }
    if !backoff.is_finite() {
        return Err(Error::new(Code::InvalidModel, format!("the backoff {backoff} is not finite")));
    }
    let backoff = if backoff == 0.0 { NO_EXTENSION } else { backoff };
    debug_assert!(has_extension(backoff) || backoff == 0.0);
    Ok(Weights { prob: -prob.abs(), backoff })
}

fn check_shape(n: usize, order: usize, rows: &OrderTable) -> Result<()> {
    let backoffs = if n == order { 0 } else { rows.len() };
    if rows.len().checked_mul(n) != Some(rows.words.len())
        || (rows.backoff.len() != backoffs && !(n == order && rows.backoff.is_empty()))
    {
        let message = format!("the columns of the {n}-gram table differ in length");
        return Err(Error::new(Code::InvalidModel, message));
    }
    Ok(())
}
