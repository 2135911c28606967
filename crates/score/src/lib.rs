//! Corpus and model to score columns, and the jobs built on them.

pub mod jobs;
pub mod methods;
