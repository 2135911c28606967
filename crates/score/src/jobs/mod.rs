//! The jobs: from options to files, resumable at any moment.

mod aside;
mod dsir;
mod extremes;
pub mod fit;
mod fitting;
pub(crate) mod identity;
pub(crate) mod input;
mod models;
mod options;
pub(crate) mod pipeline;
pub(crate) mod sample;
pub mod score;
mod scorefiles;
pub(crate) mod scorer;
mod scoring;
pub mod select;
pub(crate) mod summary;
pub(crate) mod words;
mod writing;

pub use options::{
    ByteSize, Crossing, Cutoffs, DiscountFallback, DuplicateIds, FitOptions, Method, OnError, Quotas,
    ScoreOptions, SelectOptions, SourceOptions,
};
pub use summary::{
    Candidate, Discrimination, Example, FitSummary, Fitted, GroupReport, ModelUsed, Percentile, Phase,
    Reason, SUMMARY_SCHEMA, ScoreSummary, SelectSummary, ShardCounts, Tally,
};
