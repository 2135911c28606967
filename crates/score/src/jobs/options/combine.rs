//! Options of `combine`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The scores to combine: a directory whose subdirectories are outputs of score jobs, named after the raters, or
/// the output of each rater.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Raters {
    /// The directory of all.
    Directory(String),
    /// One output for each rater.
    Each(BTreeMap<String, String>),
}

/// Combine several scores of one pool into one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CombineOptions {
    /// The scores.
    pub scores: Raters,
    /// A CSV file of training runs: a column for the weight of each rater, and columns of losses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<String>,
    /// The loss to lower, by its column or a part of the name that is its own; not needed where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<String>,
    /// The weights, instead of runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<BTreeMap<String, f64>>,
    /// Only draw so many random weights to make runs with, and write them to `output` as CSV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<usize>,
    /// The directory or URL for the score files; with `sample`, the CSV file.
    pub output: String,
    /// Start over instead of resuming what is in `output`.
    #[serde(default)]
    pub fresh: bool,
    /// Threads; all that the process may use when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Seed of all draws.
    #[serde(default)]
    pub seed: u64,
}
