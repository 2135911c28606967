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
pub(crate) mod identity;
pub(crate) mod input;
mod models;
mod options;
mod pairs;
pub mod perplexity;
pub(crate) mod pipeline;
pub mod rate;
pub(crate) mod sample;
pub mod score;
mod scorefiles;
pub(crate) mod scorer;
mod scoring;
pub mod select;
pub(crate) mod summary;
mod tokens;
pub(crate) mod words;
mod writing;

pub use models::{OpenDevice, processor};
pub use options::{
    ByteSize, CombineOptions, Crossing, CurriculumOptions, Cutoffs, DiscountFallback, DuplicateIds,
    FitOptions, Method, NeuralOptions, OnContradiction, OnError, Quotas, RateOptions, Raters, ScoreOptions,
    SelectOptions, SourceOptions,
};
pub use perplexity::{PerplexityOptions, PerplexitySummary};
pub use summary::{
    Candidate, CombineSummary, Contradicted, CurriculumReport, Discrimination, Example, FitSummary, Fitted,
    GroupReport, ModelUsed, Percentile, Phase, Rated, RaterReport, Reason, SUMMARY_SCHEMA, ScoreSummary,
    SelectSummary, SelfTrained, ShardCounts, Tally,
};
pub use tokens::{TokenCache, TokensKept};
