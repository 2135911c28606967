//! Interpolated modified Kneser-Ney estimation, in bounded memory.
//!
//! The definitions are those of `lmplz` (Heafield, Pouzyrevsky, Clark and Koehn, *Scalable Modified
//! Kneser-Ney Language Model Estimation*, ACL 2013), so that the same text gives the same model:
//!
//! - A sentence is `<s> w1 … wm </s>`; an n-gram begins with `<s>` at the earliest, and `<s>` alone is never
//!   predicted.
//! - The **adjusted count** `a` of an n-gram is how often it occurs, at the highest order and where it
//!   begins with `<s>`; elsewhere it is the number of distinct words that come before it.
//! - **Discounts**, one set an order, from the numbers `n1 … n4` of n-grams with adjusted counts 1 to 4:
//!   `Y = n1 / (n1 + 2 n2)` and `Dk = k - (k + 1) Y n(k+1) / nk` for k = 1, 2 and 3 or more.
//! - **Probabilities** `p(w | h) = (a(hw) - D(a(hw))) / A(h) + γ(h) p(w | h')`, where `A(h)` adds up `a(hw)`
//!   over all words, `h'` is `h` without its first word, and `γ(h)`, which is also the backoff of `h`, is
//!   what the discounts (and pruning) left over. Below the unigrams is the uniform distribution over all
//!   words but `<s>`.
//!
//! # How it works
//!
//! What follows each position of the text, up to the order, is a *window*; sorted windows with their counts
//! hold the raw counts of all n-grams of all orders, as prefixes. So one sort of the text's positions does
//! what takes one sort an order otherwise. Windows are sorted a block at a time: by first word in one
//! distribution pass, then, bucket by bucket, as packed integers. While everything fits into
//! [`Options::memory_limit`] the only block feeds the next step directly; when it does not, blocks become
//! sorted runs on disk and are merged.
//!
//! Ascending windows append to a trie: one array of rows an order, 12 bytes a row, children consecutive.
//! There, the denominators, the left-over mass and the backoffs of a context are sums over consecutive
//! rows. Only two things need the n-gram *without its first word*, the adjusted counts and `p(w | h')`; its
//! row is found by walking the children of the context's own link, both sides ascending.
//!
//! When the trie would not fit, its columns are files too, written from front to back and read through maps
//! whose pages are given back behind the reader. What is looked up in any order, the row of a suffix and its
//! probability, is handled a window of rows at a time. So the limit holds to the end: the [`Trie`] that comes
//! out lies where its columns were made, and model files are written from there. The result does not depend on the number of threads or on the memory limit: all counting is in integers, and every
//! floating-point sum is over one context in the order of its rows.
//!
//! # Unknown words
//!
//! `<unk>` gets its share of the uniform distribution, as every word does; that is all it gets when the text
//! does not contain it. Sentences may contain the id of `<unk>`, though: then it is counted like any
//! word, as a context too, and its unigram has its own counts besides the uniform share. That is how a closed
//! vocabulary is trained: the caller maps all words outside of it to `<unk>`, and `<unk>` then stands for
//! all of them together. `lmplz` refuses such text.
//!
//! ```
//! use gristmill_core::Control;
//! use gristmill_ngram::estimate::{Estimator, FALLBACK_DISCOUNTS, Options};
//!
//! let options = Options { order: 2, discount_fallback: Some(FALLBACK_DISCOUNTS), ..Options::default() };
//! let mut estimator = Estimator::new(options)?;
//! for sentence in ["the mill turns", "the stream turns the mill"] {
//!     let words: Vec<_> = sentence.split(' ').map(|w| estimator.vocab_mut().intern(w)).collect();
//!     estimator.add_sentence(&words)?;
//! }
//! let estimate = estimator.finish(&Control::default())?;
//! assert_eq!(estimate.trie.len(2), 8);
//! let bigrams = &estimate.trie.to_tables().orders[1];
//! assert!(bigrams.prob.iter().all(|log10| *log10 < 0.0));
//! # Ok::<(), gristmill_core::Error>(())
//! ```

mod adjust;
mod block;
mod discount;
mod probability;
mod room;
mod runs;
mod trie;
mod window;

use std::path::PathBuf;

use gristmill_core::{Code, Control, Error, Progress, Result, Unit};

use self::adjust::{Adjusted, Marks, adjust};
use self::block::{BYTES_PER_TOKEN, Block};
use self::discount::Discounts;
pub use self::discount::FALLBACK_DISCOUNTS;
use self::room::Room;
use self::runs::Runs;
use self::trie::{Level, TrieBuilder};
pub use self::window::MAX_ORDER;
use self::window::Window;
use crate::tables::Trie;
use crate::vocab::{BOS, EOS, Vocab, WordId};

/// Fewer tokens than this are not worth a run on disk.
const MIN_BLOCK: usize = 1 << 12;

/// What to estimate, and with how much memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Length of the longest n-grams, 1 to [`MAX_ORDER`].
    pub order: usize,
    /// Bytes for everything: the vocabulary, the text of a block and what sorting it takes, and then the model
    /// in the making. What outgrows it goes to `temp_dir`, at up to 40 bytes an n-gram while it is worked on.
    /// Buffers, a few megabytes, come on top.
    pub memory_limit: usize,
    /// Where n-grams go that do not fit; the system's directory for temporary files when `None`.
    pub temp_dir: Option<PathBuf>,
    /// Threads; 0 takes as many as there are cores. The result is the same for any number.
    pub threads: usize,
    /// N-grams of order n that occur at most `prune[n - 1]` times are left out; the last threshold holds
    /// for the orders above it too. Must not descend.
    pub prune: Vec<u64>,
    /// Discounts for adjusted counts 1, 2 and 3 or more, each from 0 to its count, for the orders whose
    /// counts of counts allow none (which is an error when this is `None`). See [`FALLBACK_DISCOUNTS`].
    pub discount_fallback: Option<[f64; 3]>,
    /// Spreads the mass below the unigrams over this many words when the vocabulary has fewer, so that
    /// models with different vocabularies ask the same price for a word that they do not know.
    pub vocab_pad: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            order: 5,
            memory_limit: 2 << 30,
            temp_dir: None,
            threads: 0,
            prune: Vec::new(),
            discount_fallback: None,
            vocab_pad: None,
        }
    }
}

/// An estimated model and what it was estimated from.
#[derive(Clone)]
pub struct Estimate {
    /// The model.
    pub trie: Trie,
    /// Statistics, one entry an order.
    pub orders: Vec<OrderSummary>,
    /// Sentences of the text.
    pub sentences: u64,
    /// Words of the text, without sentence marks.
    pub tokens: u64,
    /// How often counts were spilled to disk; 0 when all fitted into memory.
    pub spilled: u64,
}

/// Statistics of one order.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderSummary {
    /// Length of the n-grams.
    pub order: usize,
    /// Distinct n-grams in the text (unigrams: words of the vocabulary).
    pub distinct: u64,
    /// Those of them that pruning left.
    pub kept: u64,
    /// How many have the adjusted counts 1, 2, 3 and 4.
    pub counts_of_counts: [u64; 4],
    /// Discounts of adjusted counts 1, 2 and 3 or more.
    pub discounts: [f64; 3],
    /// Whether the discounts are those of [`Options::discount_fallback`].
    pub fallback: bool,
}

/// Counts sentences and estimates a model from them.
pub struct Estimator {
    options: Options,
    /// A threshold for every order.
    prune: Vec<u64>,
    vocab: Vocab,
    /// Whether the vocabulary was given and keeps its ids.
    closed: bool,
    pool: rayon::ThreadPool,
    block: Block,
    runs: Runs,
    sentences: u64,
    tokens: u64,
}

impl Estimator {
    /// An estimator whose vocabulary is the words that it sees.
    pub fn new(options: Options) -> Result<Self> {
        Self::create(options, Vocab::new(), false)
    }

    /// An estimator over a given vocabulary, whose ids stay as they are in the result.
    ///
    /// Words of it that never occur get their uniform share, exactly what `<unk>` gets when it never occurs;
    /// pruned unigrams fall back to it instead of leaving the vocabulary.
    pub fn with_vocab(options: Options, vocab: Vocab) -> Result<Self> {
        Self::create(options, vocab, true)
    }

    fn create(options: Options, vocab: Vocab, closed: bool) -> Result<Self> {
        let prune = check(&options)?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(options.threads)
            .thread_name(|i| format!("gristmill-estimate-{i}"))
            .build()
            .map_err(|e| Error::new(Code::Internal, "cannot start threads").with_source(e))?;
        let dir = options.temp_dir.clone().unwrap_or_else(std::env::temp_dir);
        let runs = Runs::new(options.order, &dir, options.memory_limit);
        let block = Block::new(options.order);
        Ok(Self { options, prune, vocab, closed, pool, block, runs, sentences: 0, tokens: 0 })
    }

    /// The vocabulary so far.
    pub fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    /// The vocabulary, to look words up in and to add words to.
    pub fn vocab_mut(&mut self) -> &mut Vocab {
        &mut self.vocab
    }

    /// Counts one sentence, given without `<s>` and `</s>`. It may be empty and it may contain `<unk>`.
    pub fn add_sentence(&mut self, words: &[WordId]) -> Result<()> {
        let known = self.vocab.len() as u64;
        if let Some(word) = words.iter().find(|w| matches!(**w, BOS | EOS) || u64::from(**w) >= known) {
            let why = match *word {
                BOS => "<s> marks the start of every sentence by itself".to_owned(),
                EOS => "</s> marks the end of every sentence by itself".to_owned(),
                id => format!("the vocabulary has no word {id}, it ends before {known}"),
            };
            return Err(Error::new(Code::InvalidValue, why).at_row(self.sentences));
        }
        self.push(&[BOS])?;
        self.push(words)?;
        self.push(&[EOS])?;
        self.sentences += 1;
        self.tokens += words.len() as u64;
        Ok(())
    }

    /// Appends to the block, which is spilled as often as it is full.
    fn push(&mut self, mut words: &[WordId]) -> Result<()> {
        let capacity = self.capacity()?;
        while self.block.len() + words.len() > capacity {
            let (head, tail) = words.split_at(capacity.saturating_sub(self.block.len()).min(words.len()));
            self.block.extend(head);
            self.spill()?;
            words = tail;
        }
        self.block.extend(words);
        Ok(())
    }

    /// How many tokens a block may have now.
    fn capacity(&self) -> Result<usize> {
        // Distribution by first word takes one more number a word.
        let vocab = self.vocab.heap_bytes() + 4 * self.vocab.len();
        let tokens = self.options.memory_limit.saturating_sub(vocab) / BYTES_PER_TOKEN;
        if tokens < MIN_BLOCK {
            let needed = vocab + MIN_BLOCK * BYTES_PER_TOKEN;
            return Err(Error::new(
                Code::OutOfMemory,
                format!(
                    "a memory limit of {} bytes leaves no room to count: {} words take {vocab} bytes",
                    self.options.memory_limit,
                    self.vocab.len(),
                ),
            )
            .at_column("memory_limit")
            .hint(format!("give at least {needed} bytes, or fewer distinct words")));
        }
        // Positions are 32 bits wide.
        Ok(tokens.min(u32::MAX as usize))
    }

    fn spill(&mut self) -> Result<()> {
        let (block, pool, words) = (&self.block, &self.pool, self.vocab.len());
        self.runs.spill(|sink| block.for_each_window(words, pool, &mut |w, n| sink(w, n)))?;
        self.block.retire();
        Ok(())
    }

    /// Estimates the model of all sentences so far.
    pub fn finish(mut self, control: &Control) -> Result<Estimate> {
        if self.sentences == 0 {
            return Err(Error::new(Code::EmptyInput, "there is no sentence to estimate a model from"));
        }
        if !self.runs.is_empty() && self.block.len() > 0 {
            self.spill()?;
        }
        let Self { options, prune, vocab, closed, pool, block, runs, sentences, tokens } = self;
        let spilled = runs.written();
        let room = room(&options, vocab.heap_bytes(), &block, &runs, control);
        let mut trie = TrieSink::new(options.order, sentences, tokens, &room);
        if runs.is_empty() {
            block.for_each_window(vocab.len(), &pool, &mut |window, count| trie.push(window, count))?;
            drop(block);
        } else {
            drop(block);
            runs.merge(control, &mut |window, count| trie.push(window, count))?;
        }
        let levels = trie.finish(vocab.len())?;

        pool.install(|| {
            let adjusted = adjust(levels, &prune, &room)?;
            let orders = summarize(&adjusted, options.discount_fallback)?;
            let words = if closed { orders[0].distinct } else { orders[0].kept };
            // All words but <s>.
            let uniform = 1.0 / options.vocab_pad.unwrap_or(0).max(words - 1) as f64;
            let levels = probability::levels(adjusted, &orders, uniform, closed, &room)?;
            let mut trie = Trie { vocab, levels };
            if words < trie.vocab.len() as u64 {
                renumber(&mut trie, &room)?;
            }
            Ok(Estimate { trie, orders, sentences, tokens, spilled })
        })
    }
}

/// Where the model is made: in memory if it fits there at worst, when no two n-grams of the text are the same.
fn room<'a>(options: &Options, vocab: usize, block: &Block, runs: &Runs, control: &'a Control) -> Room<'a> {
    let ngrams = block.len().saturating_mul(options.order);
    // While the trie is built the block is there too; later, links and probabilities are.
    let worst = (block.len().saturating_mul(BYTES_PER_TOKEN)).saturating_add(ngrams.saturating_mul(12));
    let worst = worst.max(ngrams.saturating_mul(24)).saturating_add(vocab);
    if runs.is_empty() && worst <= options.memory_limit {
        return Room::ample(control);
    }
    let dir = options.temp_dir.clone().unwrap_or_else(std::env::temp_dir);
    Room::tight(&dir, options.memory_limit.saturating_sub(vocab), control)
}

/// Builds the trie, looks out for a stop and reports progress.
struct TrieSink<'a> {
    trie: TrieBuilder,
    progress: Progress,
    windows: u64,
    control: &'a Control,
}

impl<'a> TrieSink<'a> {
    fn new(order: usize, sentences: u64, tokens: u64, room: &Room<'a>) -> Self {
        // Every word starts a window, and so do <s> and </s>.
        let total = Some(tokens + 2 * sentences);
        let progress =
            Progress { phase: "estimate", done: 0, total, unit: Unit::Tokens, documents: sentences, tokens };
        Self { trie: TrieBuilder::new(order, room), progress, windows: 0, control: room.control }
    }

    #[inline]
    fn push(&mut self, window: &Window, count: u64) -> Result<()> {
        self.progress.done += count;
        self.windows += 1;
        if self.windows.is_multiple_of(1 << 16) {
            self.control.check()?;
            self.control.report(&self.progress);
        }
        self.trie.push(window, count)
    }

    fn finish(self, vocab_len: usize) -> Result<Vec<Level>> {
        self.control.report(&self.progress);
        self.trie.finish(vocab_len)
    }
}

/// Validates; returns the pruning thresholds of all orders.
fn check(options: &Options) -> Result<Vec<u64>> {
    let Options { order, prune, discount_fallback, .. } = options;
    if !(1..=MAX_ORDER).contains(order) {
        return Err(Error::invalid_argument("order", format!("{order} is not within 1 to {MAX_ORDER}")));
    }
    if prune.len() > *order {
        let message = format!("{} thresholds for a model of order {order}", prune.len());
        return Err(Error::invalid_argument("prune", message));
    }
    if !prune.is_sorted() {
        return Err(Error::invalid_argument("prune", "thresholds must not descend")
            .hint("otherwise an n-gram could stay whose beginning or end is gone"));
    }
    for (k, discount) in (1..).zip(discount_fallback.iter().flatten()) {
        if !(0.0..=f64::from(k)).contains(discount) {
            let message = format!("the discount of count {k} is {discount}, not within 0 to {k}");
            return Err(Error::invalid_argument("discount_fallback", message));
        }
    }
    let mut prune = prune.clone();
    prune.resize(*order, prune.last().copied().unwrap_or(0));
    Ok(prune)
}

fn summarize(adjusted: &Adjusted, fallback: Option<[f64; 3]>) -> Result<Vec<OrderSummary>> {
    let orders = adjusted.levels.iter().zip(&adjusted.pruned).zip(&adjusted.counts_of_counts).enumerate();
    orders
        .map(|(at, ((level, pruned), counts_of_counts))| {
            let order = at + 1;
            let closed_form = Discounts::from_counts_of_counts(order, counts_of_counts);
            let (discounts, fallback) = match (closed_form, fallback) {
                (Ok(discounts), _) => (discounts.0, false),
                (Err(_), Some(fallback)) => (fallback, true),
                (Err(e), None) => return Err(e),
            };
            let gone = pruned.as_ref().map_or(0, Marks::count);
            Ok(OrderSummary {
                order,
                distinct: level.len() as u64,
                kept: level.len() as u64 - gone,
                counts_of_counts: *counts_of_counts,
                discounts,
                fallback,
            })
        })
        .collect()
}

/// Takes the words without a unigram out of the vocabulary. Ids keep their order, and so do rows.
fn renumber(trie: &mut Trie, room: &Room) -> Result<()> {
    let mut kept = Vocab::new();
    let mut ids = vec![0; trie.vocab.len()];
    for old in trie.levels[0].word.values() {
        ids[old as usize] = kept.intern(trie.vocab.word(old));
    }
    for level in &mut trie.levels {
        level.word = room.each(&level.word, |word| ids[word as usize])?;
    }
    trie.vocab = kept;
    Ok(())
}
