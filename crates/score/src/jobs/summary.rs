//! What the jobs say when they are done, and counts that must add up.

use std::collections::BTreeMap;
use std::time::Instant;

use gristmill_core::{Code, Counts, Error, Result};
use serde::{Deserialize, Serialize};

use super::options::Method;

/// The version of the JSON form of every summary.
pub const SUMMARY_SCHEMA: u32 = 1;

/// Why a document is not among those kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// The row filter said no.
    Filtered,
    /// It could not be read and is in the quarantine file.
    Quarantined,
    /// Its text is null.
    NullText,
    /// Its text has no token.
    EmptyText,
    /// Its score is not a number.
    NotANumber,
    /// Another document before it has its id.
    DuplicateId,
    /// Its score does not reach the threshold that was asked for.
    BelowThreshold,
    /// The budget was spent on better documents.
    OverBudget,
}

impl Reason {
    /// Whether a document that is dropped for this reason has a score.
    pub fn has_score(self) -> bool {
        matches!(self, Self::DuplicateId | Self::BelowThreshold | Self::OverBudget)
    }
}

/// How much was read and what became of it.
///
/// `read = scored + (dropped without a score)`, and `scored = kept + (dropped with a score)`. Tokens and bytes
/// are those of text that reached the scorer: a filtered, null or quarantined document counts as a document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Everything in the input.
    pub read: Counts,
    /// What has a score.
    pub scored: Counts,
    /// What was selected; absent where nothing is selected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Counts>,
    /// What was left out, by reason.
    pub dropped: BTreeMap<Reason, Counts>,
}

impl Tally {
    /// Counts documents that are left out.
    pub fn drop(&mut self, reason: Reason, counts: Counts) {
        if counts.documents > 0 {
            *self.dropped.entry(reason).or_default() += counts;
        }
    }

    /// Adds the tally of another part of the input.
    pub fn merge(&mut self, other: &Tally) {
        self.read += other.read;
        self.scored += other.scored;
        if let Some(kept) = other.kept {
            *self.kept.get_or_insert_default() += kept;
        }
        for (&reason, &counts) in &other.dropped {
            self.drop(reason, counts);
        }
    }

    /// `Err` with [`Code::Internal`] unless the counts add up: a document that is lost is never silent.
    pub fn check(&self) -> Result<()> {
        let dropped = |with_score: bool| -> Counts {
            self.dropped.iter().filter(|(r, _)| r.has_score() == with_score).map(|(_, c)| *c).sum()
        };
        let unscored = self.scored + dropped(false);
        let unkept = self.kept.map(|kept| kept + dropped(true));
        if self.read != unscored || unkept.is_some_and(|sum| sum != self.scored) {
            return Err(Error::new(Code::Internal, format!("the counts do not add up: {self:?}")));
        }
        Ok(())
    }
}

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
        self.0.push(Phase { phase, seconds: start.elapsed().as_secs_f64() });
        result
    }

    pub(crate) fn into_phases(self) -> Vec<Phase> {
        self.0
    }
}

/// A model file that took part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelUsed {
    /// `model`, `prior` or `conditional`.
    pub role: String,
    /// Where it was read from or written to.
    pub path: String,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// How well target and pool can be told apart, on documents that the models did not see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Discrimination {
    /// The probability that a held-out target document scores better than a pool document (area under the
    /// ROC curve): 0.5 is chance, 1 is perfect.
    pub auc: f64,
    /// Held-out target documents.
    pub target_documents: u64,
    /// Pool documents that they were compared with.
    pub pool_documents: u64,
}

/// What was learnt from the target and a sample of the pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fitted {
    /// Order of both models; absent for `dsir`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<usize>,
    /// Share of the target's own model in the conditional; absent for `dsir`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Words of the shared vocabulary (or buckets of `dsir`).
    pub vocabulary: u64,
    /// The target text learnt from.
    pub target: Counts,
    /// The pool text learnt from.
    pub pool: Counts,
    /// How well they can be told apart.
    pub discrimination: Discrimination,
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
    /// Whether every shard is done: false while other workers still have some.
    pub complete: bool,
    /// What was read and scored, of all shards that are done.
    #[serde(flatten)]
    pub counts: Tally,
    /// Bytes of input as stored.
    pub input_bytes: u64,
    /// Shards.
    pub shards: ShardCounts,
    /// The models used.
    pub models: Vec<ModelUsed>,
    /// What was fitted on the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fitted: Option<Fitted>,
    /// The ten best documents.
    pub best: Vec<Example>,
    /// The ten worst documents, the worst first.
    pub worst: Vec<Example>,
    /// Wall-clock seconds per phase.
    pub timings: Vec<Phase>,
}

/// One group of a selection with quotas.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupSummary {
    /// The value of the column; `null` for documents without one.
    pub group: Option<String>,
    /// What has a score.
    pub scored: Counts,
    /// What was selected.
    pub kept: Counts,
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
    /// Whether the selection is done: false while other workers still have shards to score.
    pub complete: bool,
    /// What was read, scored, kept, and dropped by reason.
    #[serde(flatten)]
    pub counts: Tally,
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
    pub groups: Vec<GroupSummary>,
    /// The ten best documents of the pool.
    pub best: Vec<Example>,
    /// The ten worst documents of the pool, the worst first.
    pub worst: Vec<Example>,
    /// Wall-clock seconds per phase.
    pub timings: Vec<Phase>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        let mut t = Tally {
            read: Counts { documents: 10, tokens: 60, bytes: 300 },
            scored: Counts { documents: 8, tokens: 60, bytes: 300 },
            kept: Some(Counts { documents: 3, tokens: 40, bytes: 200 }),
            dropped: BTreeMap::new(),
        };
        t.drop(Reason::NullText, Counts { documents: 2, tokens: 0, bytes: 0 });
        t.drop(Reason::OverBudget, Counts { documents: 5, tokens: 20, bytes: 100 });
        t.drop(Reason::DuplicateId, Counts::default());
        t
    }

    #[test]
    fn counts_that_add_up_pass_and_others_do_not() {
        let good = tally();
        good.check().unwrap();
        assert!(!good.dropped.contains_key(&Reason::DuplicateId), "an empty reason is not listed");
        let mut lost = good.clone();
        lost.read.documents += 1;
        assert_eq!(lost.check().unwrap_err().code(), Code::Internal);
        let mut twice = good.clone();
        twice.kept = Some(twice.scored);
        assert_eq!(twice.check().unwrap_err().code(), Code::Internal);
    }

    #[test]
    fn parts_merge_into_the_whole() {
        let mut whole = tally();
        whole.merge(&tally());
        whole.check().unwrap();
        assert_eq!(whole.read.documents, 20);
        assert_eq!(whole.kept.unwrap().tokens, 80);
        assert_eq!(whole.dropped[&Reason::OverBudget].documents, 10);
    }

    #[test]
    fn json_is_flat_and_in_camel_case() {
        let json = serde_json::to_value(tally()).unwrap();
        assert_eq!(json["dropped"]["nullText"]["documents"], 2);
        assert_eq!(json["kept"]["tokens"], 40);
        assert_eq!(serde_json::from_value::<Tally>(json).unwrap(), tally());
    }
}
