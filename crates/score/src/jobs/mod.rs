//! The jobs: from options to files, resumable at any moment.

mod aside;
mod classifier;
mod columns;
pub mod combine;
mod curriculum;
mod dsir;
mod extremes;
pub mod fit;
mod fitting;
mod identity;
mod input;
mod models;
mod options;
mod pairs;
mod pipeline;
pub mod rate;
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
    ByteSize, CombineOptions, Crossing, CurriculumOptions, DiscountFallback, DuplicateIds, FitOptions,
    Method, OnContradiction, OnError, Quotas, RateOptions, Raters, ScoreOptions, SelectOptions,
    SourceOptions,
};
pub use summary::{
    Candidate, CombineSummary, Contradicted, CurriculumReport, Discrimination, Example, FitSummary, Fitted,
    GroupReport, ModelUsed, Phase, Rated, RaterReport, Reason, SUMMARY_SCHEMA, ScoreSummary, SelectSummary,
    SelfTrained, ShardCounts, Tally,
};
