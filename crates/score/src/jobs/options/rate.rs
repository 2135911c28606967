//! Options of `rate`.

use gristmill_data::OnError;
use serde::{Deserialize, Serialize};

use super::source::SourceOptions;

/// What becomes of judgements that contradict each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnContradiction {
    /// Both are learnt from, which pulls towards a tie, and they are reported.
    #[default]
    Keep,
    /// Neither is learnt from, and they are reported.
    Drop,
    /// The job stops with an error that names both places.
    Fail,
}

/// Rate every document of a pool by what judgements of pairs teach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateOptions {
    /// A file of JSON lines: `a` and `b` are ids of the pool, and `p` is how probable it is that `a` is the better
    /// one (or `better` is `"a"`, `"b"` or `"tie"`).
    pub pairs: String,
    /// The documents to rate, those of the pairs among them.
    pub pool: SourceOptions,
    /// The directory or URL for the score files.
    pub output: String,
    /// A column of embeddings to learn from, lists of numbers, instead of the words of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<String>,
    /// How text becomes tokens; `unicode-words/1` when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalizer: Option<String>,
    /// Length of the longest n-grams; 2 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<usize>,
    /// The penalty; that with the lowest loss on pairs held out when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l2: Option<f64>,
    /// Judgements with a probability closer to one half than this are left out; 0 when not given.
    #[serde(default)]
    pub min_confidence: f64,
    /// What becomes of judgements that contradict each other.
    #[serde(default)]
    pub contradictions: OnContradiction,
    /// `i/n`, i from 0 to n − 1: rate only this share of the shards. The shares meet in `output`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Start over instead of resuming what is in `output`.
    #[serde(default)]
    pub fresh: bool,
    /// Threads; all that the process may use when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// What to do with what cannot be read.
    #[serde(default)]
    pub on_error: OnError,
    /// Seed of hashes, folds and order.
    #[serde(default)]
    pub seed: u64,
}

impl RateOptions {
    /// Ratings of `pool` in the directory `output`, all else by default.
    pub fn new(pairs: impl Into<String>, pool: SourceOptions, output: impl Into<String>) -> Self {
        Self {
            pairs: pairs.into(),
            pool,
            output: output.into(),
            embedding: None,
            normalizer: None,
            order: None,
            l2: None,
            min_confidence: 0.0,
            contradictions: OnContradiction::Keep,
            worker: None,
            fresh: false,
            threads: None,
            on_error: OnError::Fail,
            seed: 0,
        }
    }
}
