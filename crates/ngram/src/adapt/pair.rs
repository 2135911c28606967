//! Two models over one vocabulary, queried side by side.

use std::f64::consts::LN_10;

use gristmill_core::{Code, Error, Result};
use rayon::prelude::*;

use super::documents::Documents;
use crate::model::Model;
use crate::normalize::{Normalizer, Scratch};
use crate::vocab::WordId;

/// Words that are looked up together at least, before the next texts are split.
const TOGETHER: usize = 4096;

/// Losses of a text under both models, in nats: sums and a count, from which every average follows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PairScore {
    /// Predictions that were scored: the words and the end of the text.
    pub n_scored: u64,
    /// Loss under the prior.
    pub nll_prior: f64,
    /// Loss under the conditional.
    pub nll_conditional: f64,
}

impl PairScore {
    /// What the target sample taught about this text, per prediction, in nats. High is target-like. NaN
    /// without predictions.
    pub fn loss_reduction(&self) -> f64 {
        (self.nll_prior - self.nll_conditional) / self.n_scored as f64
    }
}

/// Buffers of [`Adapted::score`]; one a thread.
#[derive(Default)]
pub struct PairScratch {
    text: Scratch,
    ids: Vec<WordId>,
    /// One past the last word of each text in `ids`.
    ends: Vec<usize>,
    prior: Vec<f32>,
    target: Vec<f32>,
}

/// A prior and a conditional, which is the prior interpolated with a target model. Shared between threads.
pub struct Adapted {
    prior: Model,
    target: Model,
    weight: f64,
    normalizer: Normalizer,
}

impl Adapted {
    /// From models over one vocabulary. The normaliser is the default one; see
    /// [`with_normalizer`](Self::with_normalizer).
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] when `weight` is not above 0 and at most 1 or when the vocabularies differ.
    pub fn new(prior: Model, target: Model, weight: f64) -> Result<Self> {
        if !(weight > 0.0 && weight <= 1.0) {
            return Err(Error::invalid_argument(
                "weight",
                format!("must be above 0 and at most 1, not {weight}"),
            ));
        }
        let same = match (prior.vocab(), target.vocab()) {
            (Some(a), Some(b)) => a.len() == b.len() && a.iter().eq(b.iter()),
            _ => false,
        };
        if !same {
            let message =
                "prior and target model do not share one vocabulary, so their losses cannot be mixed";
            return Err(Error::new(Code::InvalidArgument, message)
                .hint("fit both together, or compare two models with the method 'difference'"));
        }
        Ok(Self { prior, target, weight, normalizer: Normalizer::default() })
    }

    /// Sets how [`score_text`](Self::score_text) splits text.
    pub fn with_normalizer(self, normalizer: Normalizer) -> Self {
        Self { normalizer, ..self }
    }

    /// The model of the pool.
    pub fn prior(&self) -> &Model {
        &self.prior
    }

    /// The model of the target sample alone.
    pub fn target(&self) -> &Model {
        &self.target
    }

    /// Weight of the target model in the conditional.
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// The normaliser.
    pub fn normalizer(&self) -> &Normalizer {
        &self.normalizer
    }

    fn pair(&self) -> Pair<'_> {
        Pair { prior: &self.prior, target: &self.target, weight: self.weight }
    }

    /// Losses of a text, given as ids of the shared vocabulary, between `<s>` and `</s>`.
    pub fn score(&self, ids: &[WordId], scratch: &mut PairScratch) -> PairScore {
        self.pair().score(ids, scratch)
    }

    /// Losses of a text. A text without words has no predictions, not even of its end.
    ///
    /// # Errors
    /// Those of [`Normalizer::for_each_token`].
    pub fn score_text(&self, text: &str) -> Result<PairScore> {
        self.score_text_with(text, &mut PairScratch::default())
    }

    /// [`score_text`](Self::score_text) in buffers that are kept between texts.
    ///
    /// # Errors
    /// Those of [`Normalizer::for_each_token`].
    pub fn score_text_with(&self, text: &str, scratch: &mut PairScratch) -> Result<PairScore> {
        let mut score = PairScore::default();
        self.score_texts(&[text], scratch, |of_text| score = of_text)?;
        Ok(score)
    }

    /// Scores many texts, each by itself as [`score_text`](Self::score_text) does, and calls `sink` with each
    /// score in turn. Short texts are looked up together, which is faster than one by one.
    ///
    /// # Errors
    /// Those of [`Normalizer::for_each_token`]; `sink` has then seen the texts before the one that failed.
    pub fn score_texts(
        &self,
        texts: &[&str],
        scratch: &mut PairScratch,
        mut sink: impl FnMut(PairScore),
    ) -> Result<()> {
        scratch.ids.clear();
        scratch.ends.clear();
        for text in texts {
            let PairScratch { text: words, ids, .. } = scratch;
            let split = self.normalizer.for_each_token(text, words, |w| ids.push(self.prior.encode(w)));
            if split.is_err() {
                self.score_collected(scratch, &mut sink);
                return split;
            }
            scratch.ends.push(scratch.ids.len());
            if scratch.ids.len() >= TOGETHER {
                self.score_collected(scratch, &mut sink);
            }
        }
        self.score_collected(scratch, &mut sink);
        Ok(())
    }

    /// Scores the texts between `ends` and forgets them.
    fn score_collected(&self, scratch: &mut PairScratch, sink: &mut impl FnMut(PairScore)) {
        let PairScratch { ids, ends, prior, target, .. } = scratch;
        let texts = || {
            let starts = std::iter::once(0).chain(ends.iter().copied());
            starts.zip(ends.iter()).map(|(start, end)| &ids[start..*end])
        };
        let with_words = || texts().filter(|words| !words.is_empty());
        self.prior.score_many(with_words(), true, true, prior);
        self.target.score_many(with_words(), true, true, target);
        let mut at = 0;
        for words in texts() {
            // The end of a text without words is not predicted either.
            let predictions = if words.is_empty() { 0 } else { words.len() + 1 };
            let range = at..at + predictions;
            sink(self.pair().sum(&prior[range.clone()], &target[range]));
            at += predictions;
        }
        ids.clear();
        ends.clear();
    }
}

/// Two models, and how much of the second there is in the conditional.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) prior: &'a Model,
    pub(super) target: &'a Model,
    pub(super) weight: f64,
}

impl Pair<'_> {
    pub(super) fn score(self, ids: &[WordId], scratch: &mut PairScratch) -> PairScore {
        let PairScratch { prior, target, .. } = scratch;
        self.prior.score(ids, true, true, prior);
        self.target.score(ids, true, true, target);
        self.sum(prior, target)
    }

    /// Losses of a text from the log10 probabilities of its predictions under both models.
    fn sum(self, prior: &[f32], target: &[f32]) -> PairScore {
        if prior.is_empty() {
            return PairScore::default();
        }
        PairScore {
            n_scored: prior.len() as u64,
            nll_prior: -LN_10 * prior.iter().map(|p| f64::from(*p)).sum::<f64>(),
            nll_conditional: self.mixture_loss(prior, target),
        }
    }

    fn mixture_loss(self, prior: &[f32], target: &[f32]) -> f64 {
        if self.weight == 1.0 {
            return -LN_10 * target.iter().map(|p| f64::from(*p)).sum::<f64>();
        }
        // One logarithm for many factors: no factor is below 1e-100.
        let (mut product, mut loss) = (1.0f64, 0.0);
        for (p, t) in prior.iter().zip(target) {
            product *= mixture(self.weight, *p, *t);
            if product < 1e-200 {
                loss -= product.ln();
                product = 1.0;
            }
        }
        loss - product.ln()
    }

    /// Loss reductions of documents, in their order.
    pub(super) fn loss_reductions(self, documents: &Documents, threads: usize) -> Result<Vec<f64>> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|e| Error::new(Code::Internal, "cannot start threads").with_source(e))?;
        Ok(pool.install(|| {
            (0..documents.len())
                .into_par_iter()
                .map_init(PairScratch::default, |scratch, at| {
                    self.score(documents.get(at), scratch).loss_reduction()
                })
                .collect()
        }))
    }
}

/// The interpolated probability of one position, from log10 probabilities.
#[inline]
pub(super) fn mixture(weight: f64, prior: f32, target: f32) -> f64 {
    let linear = |log10: f32| (f64::from(log10) * LN_10).exp();
    weight * linear(target) + (1.0 - weight) * linear(prior)
}
