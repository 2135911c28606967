//! The jobs: from options to files, resumable at any moment.

mod aside;
mod dsir;
mod extremes;
pub mod fit;
mod fitting;
mod identity;
mod input;
mod models;
mod options;
mod pipeline;
mod sample;
pub mod score;
mod scorefiles;
mod scorer;
mod scoring;
pub mod select;
mod summary;
mod words;
mod writing;

pub use options::{
    ByteSize, Crossing, Cutoffs, DiscountFallback, DuplicateIds, FitOptions, Method, OnError, Quotas,
    ScoreOptions, SelectOptions, SourceOptions,
};
pub use summary::{
    Candidate, Discrimination, Example, FitSummary, Fitted, GroupReport, ModelUsed, Percentile, Phase,
    Reason, SUMMARY_SCHEMA, ScoreSummary, SelectSummary, ShardCounts, Tally,
};
