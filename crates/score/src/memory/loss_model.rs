//! What gives losses to text and tokens.

use gristmill_core::{Code, Device, Error, Result, ResultExt};
use gristmill_lm::Tokenizer;
use gristmill_ngram::normalize::NormalizerSpec;

use crate::methods::{Method, Sums};
use crate::spec::ScoreSpec;

/// A model, or a pair of models, that gives losses to text and tokens: [`Ngrams`](super::Ngrams), [`Neural`](super::Neural),
/// [`Adapted`](gristmill_ngram::adapt::Adapted), [`HashedWeights`](super::HashedWeights), [`HashedLinear`](super::HashedLinear).
pub trait LossModel: Send + Sync {
    /// How many models: as many as the method has roles.
    fn models(&self) -> usize;

    /// How text becomes tokens.
    fn normalizer(&self) -> Option<&NormalizerSpec>;

    /// The specification of a method as this kind of model is used.
    fn spec(&self, method: Method) -> ScoreSpec {
        ScoreSpec::of(method)
    }

    /// Where it computes, if that is a device of its own and not the thread that asks.
    fn device(&self) -> Option<&Device> {
        None
    }

    /// Refuses a specification that this model cannot follow.
    fn supports(&self, spec: &ScoreSpec) -> Result<()>;

    /// The sums of one text, under the markers, windows and mask of the specification. Without any token
    /// nothing is scored, not even the end marker.
    fn text(&self, spec: &ScoreSpec, text: &str, scratch: &mut Scratch) -> Result<Sums>;

    /// The sums of many texts, as [`text`](Self::text) gives for each. An error of one of them has its index as the row.
    fn texts(&self, spec: &ScoreSpec, texts: &[&str], scratch: &mut Scratch) -> Result<Vec<Sums>> {
        each(texts, |text| self.text(spec, text, scratch))
    }

    /// What makes tokens of text before anything is scored: one for each vocabulary that differs, and none where the
    /// model does not work so.
    fn tokenizers(&self) -> Vec<&Tokenizer> {
        Vec::new()
    }

    /// The sums of texts whose tokens are known, given for each of [`tokenizers`](Self::tokenizers). An error of one of
    /// them has its index as the row.
    fn tokenised(&self, spec: &ScoreSpec, texts: &[&[Vec<u32>]]) -> Result<Vec<Sums>> {
        let _ = (spec, texts);
        Err(Error::new(Code::Internal, "a model without a tokenizer was given tokens"))
    }

    /// The sums of tokens that are the model's own ids.
    fn tokens(&self, spec: &ScoreSpec, ids: &[u32], scratch: &mut Scratch) -> Result<Sums>;

    /// The sums of many rows of tokens, as [`tokens`](Self::tokens) gives for each. An error of one of them has its index
    /// as the row.
    fn rows(&self, spec: &ScoreSpec, rows: &[&[u32]], scratch: &mut Scratch) -> Result<Vec<Sums>> {
        each(rows, |ids| self.tokens(spec, ids, scratch))
    }
}

/// One result for every item; an error has the index of its item as the row.
pub(crate) fn each<T>(items: &[T], mut of: impl FnMut(&T) -> Result<Sums>) -> Result<Vec<Sums>> {
    items.iter().enumerate().map(|(index, item)| of(item).at_row(index as u64)).collect()
}

/// Buffers of a [`LossModel`], one a thread.
#[derive(Default)]
pub struct Scratch {
    /// For the normaliser.
    pub words: gristmill_ngram::normalize::Scratch,
    /// Ids of one or more documents under the first model.
    pub ids: Vec<u32>,
    /// Ids of the same documents under the second.
    pub second: Vec<u32>,
    /// Where documents end in `ids`, when there are several.
    pub ends: Vec<usize>,
    /// Log-probabilities of the documents.
    pub log10: Vec<f32>,
    /// For bags of ids.
    pub counter: gristmill_mix::Counter,
    /// For an adapted pair.
    pub pair: gristmill_ngram::adapt::PairScratch,
}
