//! Options of `select`.

use std::collections::BTreeMap;

use gristmill_core::Result;
use gristmill_data::OnError;
use gristmill_mix::Direction;
use gristmill_select::{Crossing, Decimal};
use serde::{Deserialize, Serialize, Serializer};

use super::score::default_fit_memory;
use super::size::{ByteSize, optional_number_or_text};
use super::source::{SourceOptions, one_or_many};
use crate::Labels;
use crate::jobs::tokens::TokenCache;
use crate::memory::NeuralOptions;
use crate::methods::Method;

/// What becomes of documents that share one id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DuplicateIds {
    /// The job stops with an error that names both places.
    Fail,
    /// All but the first are counted as dropped and left out.
    Drop,
    /// They are documents like all others.
    Keep,
}

/// Budgets per value of a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Quotas {
    /// The column whose values are the groups, or several: then each combination of their values is one, as
    /// `web/science`.
    #[serde(deserialize_with = "one_or_many", serialize_with = "one_or_list")]
    pub column: Vec<String>,
    /// The share of the budget for each group, as positive weights; in proportion to the pool when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<BTreeMap<String, Decimal>>,
}

/// One name by itself, several as a list.
fn one_or_list<S: Serializer>(names: &[String], s: S) -> Result<S::Ok, S::Error> {
    match names {
        [one] => one.serialize(s),
        several => several.serialize(s),
    }
}

/// The order in which the selected documents are to be trained on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CurriculumOptions {
    /// Which end of the scores comes first; `ascending` when not given.
    #[serde(default)]
    pub direction: Direction,
    /// Draws the order at random, with odds of `exp(difference / temperature)` for which of two comes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
}

/// Select a training set from a pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SelectOptions {
    /// The documents to select from.
    pub pool: SourceOptions,
    /// A sample of the wanted text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<SourceOptions>,
    /// The output of a finished score job, instead of `target`: nothing is scored again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<String>,
    /// A column of numbers that the pool has already, instead of `target`: these are the scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rating: Option<String>,
    /// Of `rating`: the lowest and the highest value that there is, such as 1 and 5; another one stops the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rating_range: Option<[f64; 2]>,
    /// One model instead of `target`, as a score job takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The general model of a method that compares two, instead of `target`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior: Option<String>,
    /// The target's model of a method that compares two, instead of `target`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditional: Option<String>,
    /// How transformers read and score.
    #[serde(default)]
    pub transformer: NeuralOptions,
    /// Where tokens of documents are kept for transformers, so that another model or run need not make them again; not
    /// at all when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_cache: Option<TokenCache>,
    /// The directory or URL for the selected shards.
    pub output: String,
    /// How much to keep: `10%`, `2500docs`, `1.5Btokens`, `200MB`; a bare number counts tokens.
    #[serde(default, deserialize_with = "optional_number_or_text", skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
    /// How to score, with `target`; `loss-reduction` when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// The order of the fitted models, instead of the one that discriminates best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<usize>,
    /// The share of the target's own model in the conditional, instead of the best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// How text becomes tokens; `unicode-words/1` when not given.
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
    /// Sample without replacement in proportion to `exp(score / temperature)` instead of taking the top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The temperature counts standard deviations of the scores, as QuRating normalises them.
    #[serde(default)]
    pub standardize: bool,
    /// Sample every document with the same probability, whatever its score; the threshold stays a threshold.
    #[serde(default)]
    pub uniform: bool,
    /// Also write down in which order to train on what was selected, as `_curriculum.parquet`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curriculum: Option<CurriculumOptions>,
    /// Seed of all sampling and of the order of ties.
    #[serde(default)]
    pub seed: u64,
    /// Keep only scores that are at least this good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Divide the budget over the values of a column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Quotas>,
    /// Whether the document that crosses the budget is kept.
    #[serde(default)]
    pub crossing: Crossing,
    /// Keep the lowest scores instead of the highest; by the method when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lowest: Option<bool>,
    /// Also write the report to this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
    /// The format of the selected shards; that of the input when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_format: Option<String>,
    /// Put before the names of the columns that are added, where the input has such names itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// `i/n`, i from 0 to n − 1: score only this share of the shards; whoever finds all scored selects.
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
    /// What to do with documents that share an id; `drop` under `onError: "quarantine"`, else `fail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate_ids: Option<DuplicateIds>,
}

impl SelectOptions {
    /// A selection from `pool` into the directory `output`, all else by default.
    pub fn new(pool: SourceOptions, output: impl Into<String>) -> Self {
        Self {
            pool,
            target: None,
            scores: None,
            rating: None,
            rating_range: None,
            model: None,
            prior: None,
            conditional: None,
            transformer: NeuralOptions::default(),
            token_cache: None,
            output: output.into(),
            budget: None,
            method: None,
            order: None,
            weight: None,
            normalizer: None,
            pool_sample: None,
            l2: None,
            rounds: None,
            labels: None,
            temperature: None,
            standardize: false,
            uniform: false,
            curriculum: None,
            seed: 0,
            threshold: None,
            quotas: None,
            crossing: Crossing::Include,
            lowest: None,
            report: None,
            output_format: None,
            prefix: String::new(),
            worker: None,
            fresh: false,
            threads: None,
            memory: default_fit_memory(),
            on_error: OnError::Fail,
            duplicate_ids: None,
        }
    }

    /// The rule for documents that share an id.
    pub fn duplicates(&self) -> DuplicateIds {
        self.duplicate_ids.unwrap_or(match self.on_error {
            OnError::Fail => DuplicateIds::Fail,
            OnError::Quarantine => DuplicateIds::Drop,
        })
    }
}
