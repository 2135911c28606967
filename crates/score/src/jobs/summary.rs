//! What the jobs say when they are done.

use std::time::Instant;

use gristmill_core::Counts;
use gristmill_mix::{FitReport, HeldOutPairs, Optimum};
pub use gristmill_ngram::adapt::{Candidate, Discrimination};
pub use gristmill_select::{GroupReport, Reason, Tally};
use serde::{Deserialize, Serialize};

use super::options::Method;
use super::tokens::TokensKept;
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
    /// Order of both models; for `dsir` and `classifier`, length of the longest n-grams.
    pub order: usize,
    /// Share of the target's own model in the conditional; absent without models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Words of the shared vocabulary; for `dsir` and `classifier`, buckets.
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
    /// What self-training of the classifier made of the pool's sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_trained: Option<SelfTrained>,
}

/// Pseudo-labels that the classifier gave to documents of the pool's sample, and learnt from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SelfTrained {
    /// Rounds until no label changed, or as many as were asked for.
    pub rounds: u64,
    /// Documents labelled as the target is.
    pub target: u64,
    /// Documents labelled as not wanted.
    pub other: u64,
    /// Documents that were left out.
    pub unsure: u64,
}

/// What was learnt from judgements of pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rated {
    /// Judgements that were learnt from.
    pub judgements: u64,
    /// Judgements that were left out: too close to a tie, or contradicted and dropped.
    pub left_out: u64,
    /// Documents that were judged.
    pub documents: u64,
    /// Pairs that were judged both ways.
    pub contradicted: u64,
    /// The first ten of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contradictions: Vec<Contradicted>,
    /// The penalty.
    pub l2: f64,
    /// Every penalty tried, with the loss on pairs held out, in nats a pair.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<(f64, f64)>,
    /// What margins were multiplied with so that differences of scores are log-odds.
    pub slope: f64,
    /// How the ratings do on pairs held out; absent where there are too few pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<HeldOutPairs>,
}

/// Two documents that were judged both ways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contradicted {
    /// The id of one.
    pub a: String,
    /// The id of the other.
    pub b: String,
    /// Lines of the file, from 0, that prefer the first.
    pub for_a: Vec<u64>,
    /// Lines that prefer the second.
    pub for_b: Vec<u64>,
}

/// One of the scores that were combined.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RaterReport {
    /// Its name.
    pub rater: String,
    /// Where its scores are.
    pub scores: String,
    /// How they were made.
    pub method: Method,
    /// Documents with such a score.
    pub documents: u64,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation.
    pub deviation: f64,
    /// What it counts in the sum; absent where weights were only drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
}

/// The result of a combination.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CombineSummary {
    /// [`SUMMARY_SCHEMA`].
    pub schema: u32,
    /// The directory or URL of the score files, or the CSV file of weights.
    pub output: String,
    /// The scores, in the order of their names.
    pub raters: Vec<RaterReport>,
    /// Weights that were drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drawn: Option<u64>,
    /// How the regression of the loss on the weights fits, on runs that it did not see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fit: Option<FitReport>,
    /// The weights with the lowest predicted loss, with intervals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimum: Option<Optimum>,
    /// What was read and has a combined score.
    #[serde(flatten)]
    pub counts: Tally,
    /// Shards.
    pub shards: ShardCounts,
    /// The ten best documents. Their text is not known here.
    pub best: Vec<Example>,
    /// The ten worst documents, the worst first.
    pub worst: Vec<Example>,
    /// Wall-clock seconds per phase.
    pub timings: Vec<Phase>,
}

/// The order that a selection was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CurriculumReport {
    /// The file with the order, in the output: `file`, `row` in it, `topic`, `n_tokens` and `score` of each
    /// document.
    pub file: String,
    /// Documents in it.
    pub documents: u64,
    /// Topics that were dealt out evenly; 1 without quotas.
    pub topics: u64,
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
    /// What the cache of tokens was good for, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_cache: Option<TokensKept>,
    /// What was fitted on the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fitted: Option<Fitted>,
    /// The percentiles that were asked for, once every shard is done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percentiles: Vec<Percentile>,
    /// What was learnt from judgements of pairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rated: Option<Rated>,
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
    /// What the cache of tokens was good for, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_cache: Option<TokensKept>,
    /// What was fitted on the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fitted: Option<Fitted>,
    /// The score of the worst document that was kept; with a temperature, nothing is cut by score alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<f64>,
    /// Per group, with quotas.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupReport>,
    /// Mean and standard deviation of the scores, where the temperature counts in the latter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moments: Option<[f64; 2]>,
    /// The order to train in, where one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curriculum: Option<CurriculumReport>,
    /// The ten best documents of the pool.
    pub best: Vec<Example>,
    /// The ten worst documents of the pool, the worst first.
    pub worst: Vec<Example>,
    /// Wall-clock seconds per phase.
    pub timings: Vec<Phase>,
}
