//! Adaptation of a general model to a small target sample: loss reduction without a neural network.
//!
//! Two models over one vocabulary: the **prior**, of the pool, and the **conditional**, which is the prior
//! interpolated with a model of the target sample, `p(w|h) = λ p_target(w|h) + (1 - λ) p_prior(w|h)`. What a
//! document of the pool gains, `NLL_prior - NLL_conditional`, mean per token, is its loss reduction
//! (CoLoR-Filter); with λ = 1 it is the criterion of Moore and Lewis. Both losses are losses of language
//! models, so they can be stored, compared and averaged as such.
//!
//! # What makes it work with a hundred documents
//!
//! Measured on labelled text (`test/corpora`: seven kinds, samples of 120 documents from other sources than
//! the pool's; mean precision when as many documents are taken as are relevant). Random choice reaches 0.14,
//! DSIR's reference weights 0.71, and 0.81 per n-gram; with everything below it is **0.95**.
//!
//! - **A low order.** Alone, unigrams reach 0.939, bigrams 0.864, trigrams 0.751, order 5 0.706: a small
//!   sample knows few n-grams, and the prior knows those of the pool by heart. So the order is chosen, and a
//!   high one has to earn it.
//! - **A prior that is not the target.** Where a fifth of the pool is what is looked for, a fifth of the
//!   prior is a model of it. Documents of the pool that score like the target sample (above the 2% quantile
//!   of held-out target documents) stay out of the prior, in two rounds: 0.950. It is not done when more
//!   than half of the pool would go, because then the two cannot be told apart anyway.
//! - **One closed vocabulary.** Words that occur in at least two documents, of pool and target together; the
//!   rest is one unknown word, trained as a word. A word of the vocabulary that one model never saw gets its
//!   uniform share there. With a vocabulary each, the small model pays less for an unknown word than the
//!   large one, and documents full of rare words win. Keeping words of a single document costs half a point.
//! - **Runs of punctuation as words** (`unicode-words/1`): one point over single marks.
//!
//! The weight matters little: λ = 1 is 0.004 better here than the fitted one. What did not help: a Dirichlet
//! prior in place of interpolation (adapted counts), leaving rare bigrams out of the prior, adding the best
//! documents of the pool to the target sample, clipping what one token can contribute. All of this was tuned
//! on that one collection; the figures say what to expect of clear kinds of English text.
//!
//! # How order and weight are chosen
//!
//! The target sample is cut into folds. Each fold is scored by models of the others, and λ is fitted on it
//! by expectation maximisation. Then held-out target documents are ranked among pool documents; the area
//! under the ROC curve is the probability that a target document gains more than a pool document. Perplexity
//! would choose differently, and wrongly: it is discrimination that selection needs. The lowest order whose
//! area is within two standard errors of the best is taken, because documents of one sample share authors
//! and subjects, which flatters high orders.
//!
//! The comparison must be even: a prior that has seen the pool documents, but not the held-out target
//! documents, gives itself away (order 2 then discriminates perfectly and selects poorly). So here the prior
//! has seen both. EM, on the contrary, asks what the target model adds to a prior that has *not* seen the
//! text. Both take a bounded part of the pool.
//!
//! ```
//! use gristmill_core::Control;
//! use gristmill_ngram::adapt::{Adapter, Options};
//! use gristmill_ngram::normalize::Normalizer;
//!
//! let mut adapter = Adapter::new(Normalizer::default(), Options::default())?;
//! for i in 0..200 {
//!     adapter.add_target(&format!("the mill grinds corn and rye for village {}", i % 7))?;
//!     adapter.add_pool(&format!("shares of company {} fell on the market today", i % 11))?;
//!     adapter.add_pool(&format!("rain and wind on day {} of the month", i % 13))?;
//! }
//! let fit = adapter.finish(&Control::default())?;
//! assert!(fit.choice.discrimination.auc > 0.99);
//!
//! let adapted = fit.into_adapted(Default::default())?;
//! let near = adapted.score_text("corn and rye for the mill")?;
//! let far = adapted.score_text("the market fell today")?;
//! assert!(near.loss_reduction() > far.loss_reduction());
//! # Ok::<(), gristmill_core::Error>(())
//! ```

mod choose;
mod discriminate;
mod documents;
mod pair;

use std::path::PathBuf;

use gristmill_core::{Code, Control, Error, Result};

pub use self::choose::{Candidate, Choice};
pub use self::discriminate::{Discrimination, discriminate};
pub use self::pair::{Adapted, PairScore, PairScratch};

use self::choose::{Folds, quantile};
use self::documents::Documents;
use self::pair::Pair;
use crate::estimate::{self, Estimate, Estimator, FALLBACK_DISCOUNTS};
use crate::model::{Model, ModelMeta};
use crate::normalize::{Normalizer, Scratch};
use crate::vocab::{UNK, Vocab, WordId};

/// Orders that are tried when none is given.
const ORDERS: std::ops::RangeInclusive<usize> = 1..=3;

/// How often lookalikes are looked for: the second time with the prior that the first time gave.
const ROUNDS: usize = 2;

/// How to adapt. The default decides everything by what discriminates.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Order of both models; chosen from 1 to 3 when `None`.
    pub order: Option<usize>,
    /// Weight λ of the target's own model, above 0 and at most 1; fitted when `None`.
    pub weight: Option<f64>,
    /// A word of the vocabulary occurs in at least this many documents.
    pub min_documents: u32,
    /// Parts that the target sample is cut into for choosing.
    pub folds: usize,
    /// The quantile of held-out target scores from which on a pool document counts as target-like and stays
    /// out of the prior; `None` keeps all.
    pub lookalikes: Option<f64>,
    /// How many tokens of the pool are used for choosing.
    pub choice_tokens: usize,
    /// Bytes for estimating a model, see [`estimate::Options::memory_limit`].
    pub memory_limit: usize,
    /// Where n-grams spill to.
    pub temp_dir: Option<PathBuf>,
    /// Threads; 0 takes as many as there are cores. The result is the same for any number.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        let estimate::Options { memory_limit, .. } = estimate::Options::default();
        Self {
            order: None,
            weight: None,
            min_documents: 2,
            folds: 5,
            lookalikes: Some(0.02),
            choice_tokens: 1 << 20,
            memory_limit,
            temp_dir: None,
            threads: 0,
        }
    }
}

impl Options {
    fn check(&self) -> Result<()> {
        let refuse = |option, message: String| Err(Error::invalid_argument(option, message));
        if let Some(order) = self.order.filter(|o| !(1..=estimate::MAX_ORDER).contains(o)) {
            return refuse("order", format!("must be 1 to {}, not {order}", estimate::MAX_ORDER));
        }
        if let Some(weight) = self.weight.filter(|w| !(*w > 0.0 && *w <= 1.0)) {
            return refuse("weight", format!("must be above 0 and at most 1, not {weight}"));
        }
        if let Some(q) = self.lookalikes.filter(|q| !(0.0..=1.0).contains(q)) {
            return refuse("lookalikes", format!("must be a quantile from 0 to 1, not {q}"));
        }
        if self.folds < 2 {
            return refuse("folds", format!("must be 2 or more, not {}", self.folds));
        }
        Ok(())
    }

    fn orders(&self) -> impl Iterator<Item = usize> + use<> {
        self.order.map_or(ORDERS, |order| order..=order)
    }
}

/// Collects a target sample and (a sample of) the pool, then fits both models.
pub struct Adapter {
    options: Options,
    normalizer: Normalizer,
    scratch: Scratch,
    /// All words so far.
    vocab: Vocab,
    /// How many documents have each of them, and the last document that did.
    documents: Vec<u32>,
    last: Vec<u32>,
    read: u32,
    target: Documents,
    pool: Documents,
}

impl Adapter {
    /// An adapter without text.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for options out of range.
    pub fn new(normalizer: Normalizer, options: Options) -> Result<Self> {
        options.check()?;
        Ok(Self {
            options,
            normalizer,
            scratch: Scratch::default(),
            vocab: Vocab::new(),
            documents: vec![0; 3],
            last: vec![0; 3],
            read: 0,
            target: Documents::default(),
            pool: Documents::default(),
        })
    }

    /// Adds a document of the target sample. One without words is ignored.
    ///
    /// # Errors
    /// Those of [`Normalizer::for_each_token`].
    pub fn add_target(&mut self, text: &str) -> Result<()> {
        let mut into = std::mem::take(&mut self.target);
        let result = self.add(text, &mut into);
        self.target = into;
        result
    }

    /// Adds a document of the pool. One without words is ignored.
    ///
    /// # Errors
    /// Those of [`Normalizer::for_each_token`].
    pub fn add_pool(&mut self, text: &str) -> Result<()> {
        let mut into = std::mem::take(&mut self.pool);
        let result = self.add(text, &mut into);
        self.pool = into;
        result
    }

    fn add(&mut self, text: &str, into: &mut Documents) -> Result<()> {
        let Self { normalizer, scratch, vocab, documents, last, read, .. } = self;
        *read += 1;
        normalizer.for_each_token(text, scratch, |word| {
            let id = vocab.intern(word);
            into.push(id);
            let at = id as usize;
            if at >= documents.len() {
                documents.resize(at + 1, 0);
                last.resize(at + 1, 0);
            }
            if last[at] != *read {
                last[at] = *read;
                documents[at] += 1;
            }
        })?;
        into.end();
        Ok(())
    }

    /// Documents with words and tokens of the target sample.
    pub fn target_size(&self) -> (usize, usize) {
        (self.target.len(), self.target.tokens())
    }

    /// Documents with words and tokens of the pool.
    pub fn pool_size(&self) -> (usize, usize) {
        (self.pool.len(), self.pool.tokens())
    }

    /// Closes the vocabulary, chooses order and weight, and fits both models.
    ///
    /// # Errors
    /// [`Code::TargetTooSmall`] when there is too little target text to hold some of it out,
    /// [`Code::EmptyInput`] when there is no pool, [`Code::Aborted`] on request, and those of estimation.
    pub fn finish(mut self, control: &Control) -> Result<Fit> {
        if self.pool.len() == 0 {
            return Err(Error::new(
                Code::EmptyInput,
                "the pool has no document with text to learn a prior from",
            ));
        }
        self.close_vocabulary();
        let Self { options, normalizer, vocab, target, pool, .. } = self;
        let sections = target.sections(options.folds)?;
        let fitter = Fitter { options: &options, vocab: &vocab, control };
        let (choice, folds) = choose::choose(&fitter, &sections, &pool)?;
        let target_model = fitter.fit(choice.order, [&target])?;
        let (prior, lookalikes) = fitter.prior(&choice, &folds, &target, &target_model, &pool)?;
        Ok(Fit { normalizer, prior, target: target_model, choice, lookalikes: lookalikes as u64 })
    }

    /// Words in fewer documents than asked for become the unknown word.
    fn close_vocabulary(&mut self) {
        let mut closed = Vocab::new();
        let keep = |(word, documents): (&str, &u32)| {
            if *documents >= self.options.min_documents { closed.intern(word) } else { UNK }
        };
        let ids: Vec<WordId> = self.vocab.iter().zip(&self.documents).map(keep).collect();
        self.target.rename(&ids);
        self.pool.rename(&ids);
        self.vocab = closed;
    }
}

/// What [`Adapter::finish`] found.
pub struct Fit {
    /// The normaliser of both models.
    pub normalizer: Normalizer,
    /// The model of the pool.
    pub prior: Estimate,
    /// The model of the target sample, over the same vocabulary.
    pub target: Estimate,
    /// Order, weight, and what they were chosen by.
    pub choice: Choice,
    /// Documents of the pool that were kept out of the prior because they look like the target.
    pub lookalikes: u64,
}

impl Fit {
    /// Both models, ready for queries. `metadata` is recorded in each.
    ///
    /// # Errors
    /// Those of [`Model::from_trie`].
    pub fn into_adapted(self, metadata: serde_json::Map<String, serde_json::Value>) -> Result<Adapted> {
        let meta = ModelMeta { normalizer: Some(self.normalizer.spec().clone()), metadata };
        let prior = Model::from_trie(&self.prior.trie, meta.clone())?;
        let target = Model::from_trie(&self.target.trie, meta)?;
        Ok(Adapted::new(prior, target, self.choice.weight)?.with_normalizer(self.normalizer))
    }
}

/// Fits models over the closed vocabulary.
struct Fitter<'a> {
    options: &'a Options,
    vocab: &'a Vocab,
    control: &'a Control,
}

impl Fitter<'_> {
    fn fit<'d>(&self, order: usize, parts: impl IntoIterator<Item = &'d Documents>) -> Result<Estimate> {
        let options = estimate::Options {
            order,
            memory_limit: self.options.memory_limit,
            temp_dir: self.options.temp_dir.clone(),
            threads: self.options.threads,
            discount_fallback: Some(FALLBACK_DISCOUNTS),
            ..estimate::Options::default()
        };
        let mut estimator = Estimator::with_vocab(options, self.vocab.clone())?;
        for documents in parts {
            documents.iter().try_for_each(|words| estimator.add_sentence(words))?;
        }
        estimator.finish(self.control)
    }

    fn model<'d>(&self, order: usize, parts: impl IntoIterator<Item = &'d Documents>) -> Result<Model> {
        Model::from_trie(&self.fit(order, parts)?.trie, ModelMeta::default())
    }

    /// The prior, of the pool without the documents that look like the target, and how many those are.
    fn prior(
        &self,
        choice: &Choice,
        folds: &Folds,
        target: &Documents,
        target_model: &Estimate,
        pool: &Documents,
    ) -> Result<(Estimate, usize)> {
        let Choice { order, weight, .. } = *choice;
        let Some(q) = self.options.lookalikes else { return Ok((self.fit(order, [pool])?, 0)) };
        let target_model = Model::from_trie(&target_model.trie, ModelMeta::default())?;
        // Knows the target sample too, so that held-out documents and the pool are compared evenly.
        let mut prior = self.model(order, [pool, target])?;
        let mut found = (self.fit(order, [pool])?, 0);
        for _ in 0..ROUNDS {
            let pair = Pair { prior: &prior, target: &target_model, weight };
            let Some(threshold) = quantile(&folds.loss_reductions(&prior, weight), q) else { break };
            let (kept, lookalikes) =
                pool.split(&pair.loss_reductions(pool, self.options.threads)?, threshold);
            if kept.tokens() * 2 < pool.tokens() {
                break;
            }
            found = (self.fit(order, [&kept])?, lookalikes);
            prior = Model::from_trie(&found.0.trie, ModelMeta::default())?;
        }
        Ok(found)
    }
}
