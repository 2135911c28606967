//! What the jobs say when they are done.

use std::time::Instant;

use gristmill_core::Counts;
pub use gristmill_ngram::adapt::{Candidate, Discrimination};
pub use gristmill_select::{GroupReport, Reason, Tally};
use serde::{Deserialize, Serialize};

use super::options::Method;
use crate::ScoreSpec;

/// The version of the JSON form of every summary.
pub const SUMMARY_SCHEMA: u32 = 1;

/// One document, as an example of a good or a bad score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Example {
    /// Its id.
    pub id: String,
    /// Its score.
    pub score: f64,
    /// The file that holds it.
    pub file: String,
    /// Its row in that file.
    pub row: u64,
    /// How its text begins.
    pub text: String,
}

/// How long a phase took.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Phase {
    /// Its name, as in progress reports.
    pub phase: &'static str,
    /// Wall-clock seconds.
    pub seconds: f64,
}

/// Wall-clock time per phase. Not part of any file: files are the same for the same input.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timings(Vec<Phase>);

impl Timings {
    /// Runs `work` and writes down how long it took.
    pub(crate) fn time<T>(&mut self, phase: &'static str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        let seconds = start.elapsed().as_secs_f64();
        match self.0.iter_mut().find(|p| p.phase == phase) {
            Some(earlier) => earlier.seconds += seconds,
            None => self.0.push(Phase { phase, seconds }),
        }
        result
    }

    pub(crate) fn into_phases(self) -> Vec<Phase> {
        self.0
    }
}

/// A model file that took part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelUsed {
    /// Its part in the method, such as `model`, `prior` or `conditional`.
    pub role: String,
    /// Where it was read from or written to.
    pub path: String,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// Of a model that is interpolated with the prior: its share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
}

/// What was learnt from the target and a sample of the pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fitted {
    /// Order of both models; for `dsir`, length of the longest n-grams.
    pub order: usize,
    /// Share of the target's own model in the conditional; absent for `dsir`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Words of the shared vocabulary; for `dsir`, buckets.
    pub vocabulary: u64,
    /// The target text learnt from.
    pub target: Counts,
    /// The pool text learnt from.
    pub pool: Counts,
    /// Documents of that pool text that were kept out of the prior, because they look like the target.
    pub lookalikes: u64,
    /// How well held-out target text and the pool can be told apart.
    pub discrimination: Discrimination,
    /// The orders that were tried, where none was given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
}

/// A score, and how much of the pool is at or below it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Percentile {
    /// Percent of the documents that have a score.
    pub percent: u8,
    /// The smallest score with at least so many at or below it.
    pub score: f64,
}

/// How many shards there are and what was done about them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardCounts {
    /// Shards of the input.
    pub total: u64,
    /// Done by this run.
    pub done: u64,
    /// Found done by an earlier run or by another worker.
    pub resumed: u64,
    /// Left to other workers and not done yet.
    pub pending: u64,
}

/// The result of a fit.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FitSummary {
    /// [`SUMMARY_SCHEMA`].
    pub schema: u32,
    /// The model file.
    pub output: String,
    /// SHA-256 of the model file, in hexadecimal.
    pub sha256: String,
    /// Length of the longest n-gram.
    pub order: usize,
    /// How text became tokens.
    pub normalizer: String,
    /// Words of the model, the three special ones included.
    pub vocabulary: u64,
    /// N-grams per order.
    pub ngrams: Vec<u64>,
    /// Discounts per order, for n-grams seen once, twice, and more often.
    pub discounts: Vec<[f64; 3]>,
    /// What was read, and what was learnt from (`scored`).
    #[serde(flatten)]
    pub counts: Tally,
    /// Parts of files that could not be read and were put aside; their documents are not in the counts.
    pub damaged: u64,
    /// Bytes of input as stored.
    pub input_bytes: u64,
    /// Wall-clock seconds per phase.
    pub timings: Vec<Phase>,
}

/// The result of a score job.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScoreSummary {
    /// [`SUMMARY_SCHEMA`].
    pub schema: u32,
    /// The directory or URL of the score files.
    pub output: String,
    /// How documents were scored.
    pub method: Method,
    /// Exactly what the scores mean.
    pub spec: ScoreSpec,
    /// Whether every shard is done: false while other workers still have some.
    pub complete: bool,
    /// What was read and scored, of all shards that are done.
    #[serde(flatten)]
    pub counts: Tally,
    /// Parts of files that could not be read and were put aside; their documents are not in the counts.
    pub damaged: u64,
    /// Bytes of input as stored.
    pub input_bytes: u64,
    /// Shards.
    pub shards: ShardCounts,
    /// The models used.
    pub models: Vec<ModelUsed>,
    /// What was fitted on the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fitted: Option<Fitted>,
    /// The percentiles that were asked for, once every shard is done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percentiles: Vec<Percentile>,
    /// The ten best documents.
    pub best: Vec<Example>,
    /// The ten worst documents, the worst first.
    pub worst: Vec<Example>,
    /// Wall-clock seconds per phase.
    pub timings: Vec<Phase>,
}

/// The result of a selection.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SelectSummary {
    /// [`SUMMARY_SCHEMA`].
    pub schema: u32,
    /// The directory or URL of the selected shards.
    pub output: String,
    /// How documents were scored.
    pub method: Method,
    /// Exactly what the scores mean.
    pub spec: ScoreSpec,
    /// Whether the selection is done: false while other workers still have shards to score.
    pub complete: bool,
    /// What was read, scored, kept, and dropped by reason.
    #[serde(flatten)]
    pub counts: Tally,
    /// Parts of files that could not be read and were put aside; their documents are not in the counts.
    pub damaged: u64,
    /// Bytes of input as stored.
    pub input_bytes: u64,
    /// Shards, by whether they are scored.
    pub shards: ShardCounts,
    /// The models used.
    pub models: Vec<ModelUsed>,
    /// What was fitted on the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fitted: Option<Fitted>,
    /// The score of the worst document that was kept; with a temperature, nothing is cut by score alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<f64>,
    /// Per group, with quotas.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupReport>,
    /// The ten best documents of the pool.
    pub best: Vec<Example>,
    /// The ten worst documents of the pool, the worst first.
    pub worst: Vec<Example>,
    /// Wall-clock seconds per phase.
    pub timings: Vec<Phase>,
}
