//! The jobs: from options to files, resumable at any moment.

mod options;
mod summary;

pub use options::{
    ByteSize, Crossing, DiscountFallback, DuplicateIds, FitOptions, Method, OnError, Quotas, ScoreOptions,
    SelectOptions, SourceOptions,
};
pub use summary::{
    Discrimination, Example, FitSummary, Fitted, GroupSummary, ModelUsed, Phase, Reason, SUMMARY_SCHEMA,
    ScoreSummary, SelectSummary, ShardCounts, Tally,
};
