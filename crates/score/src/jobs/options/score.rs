//! Options of `score`.

use gristmill_data::OnError;
use serde::{Deserialize, Serialize};

use super::size::ByteSize;
use super::source::SourceOptions;
use crate::Labels;
use crate::jobs::tokens::TokenCache;
use crate::memory::NeuralOptions;
use crate::methods::{Cutoffs, Method};

/// Score every document of a pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScoreOptions {
    /// The documents to score.
    pub pool: SourceOptions,
    /// The directory or URL for the score files.
    pub output: String,
    /// One model, for `perplexity`, `bits-per-byte` and `ccnet`: the path of an n-gram model, or of a transformer (a
    /// folder or a `.gguf` file); `ngram:` or `lm:` before the path says which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The general model of a method that compares two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior: Option<String>,
    /// The target's model of a method that compares two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditional: Option<String>,
    /// How transformers read and score.
    #[serde(default)]
    pub transformer: NeuralOptions,
    /// Where tokens of documents are kept for transformers, so that another model or run need not make them again; not
    /// at all when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_cache: Option<TokenCache>,
    /// A sample of the wanted text: both models are then fitted here, on it and on a sample of the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<SourceOptions>,
    /// How to score; `perplexity` with one model, else `loss-reduction`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// With `ccnet`: where the head ends and the tail begins, which adds the column `bucket`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutoffs: Option<Cutoffs>,
    /// Percentiles of the pool's scores to report, 0 to 100: what cut-offs and thresholds are made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub percentiles: Vec<u8>,
    /// With `target`: the order of the fitted models, instead of the one that discriminates best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<usize>,
    /// With `target`: the share of the target's own model in the conditional, instead of the best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// With `target`: how text becomes tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalizer: Option<String>,
    /// With `target`: how much text of the pool to learn from; 32 MiB when not given. It is held in memory meanwhile,
    /// but for `classifier`, which keeps counted features, in a temporary file where they do not fit into `memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_sample: Option<ByteSize>,
    /// Of `classifier`: the penalty, which is `1/C`; 1 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l2: Option<f64>,
    /// Of `classifier`: rounds of self-training on the pool's sample; none when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounds: Option<usize>,
    /// Of `classifier`: adds a column `label`, and says which probabilities self-training is sure of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// A column of numbers that the pool has already, which are then the scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rating: Option<String>,
    /// Of `rating`: the lowest and the highest value that there is, such as 1 and 5; another one stops the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rating_range: Option<[f64; 2]>,
    /// `i/n`, i from 0 to n − 1: score only this share of the shards. The shares meet in `output`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Start over instead of resuming what is in `output`.
    #[serde(default)]
    pub fresh: bool,
    /// Threads; all that the process may use when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Memory for what is counted while models are fitted; 512 MB.
    #[serde(default = "default_fit_memory")]
    pub memory: ByteSize,
    /// What to do with what cannot be read.
    #[serde(default)]
    pub on_error: OnError,
    /// Seed of all sampling.
    #[serde(default)]
    pub seed: u64,
}

pub(super) fn default_fit_memory() -> ByteSize {
    ByteSize(512_000_000)
}

impl ScoreOptions {
    /// Scores of `pool` in the directory `output`, all else by default.
    pub fn new(pool: SourceOptions, output: impl Into<String>) -> Self {
        Self {
            pool,
            output: output.into(),
            model: None,
            prior: None,
            conditional: None,
            transformer: NeuralOptions::default(),
            token_cache: None,
            target: None,
            method: None,
            cutoffs: None,
            percentiles: Vec::new(),
            order: None,
            weight: None,
            normalizer: None,
            pool_sample: None,
            l2: None,
            rounds: None,
            labels: None,
            rating: None,
            rating_range: None,
            worker: None,
            fresh: false,
            threads: None,
            memory: default_fit_memory(),
            on_error: OnError::Fail,
            seed: 0,
        }
    }
}
