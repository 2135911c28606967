//! Corpus and model to score columns, and the jobs built on them.
//!
//! # What a score is
//!
//! A [`ScoreSpec`] says what a number means: the [method](methods), which predictions are in it, what they
//! are divided by, which end is the good one. It is saved with the column. Beside the score stand the sums
//! and counts that it was made from ([`Sums`], [`sidecar`]), so that every other score of the same losses
//! follows without asking a model again; a perplexity alone is never stored.
//!
//! # How documents get one
//!
//! [`jobs`] fit models, score pools of files and select from them, resumably and with the same bytes
//! whatever the threads. They work a batch at a time, and so does [`memory`] for tables that are in memory
//! already.

pub mod jobs;
pub mod memory;
pub mod methods;
pub mod mix_search;
pub mod mixing;
pub mod sidecar;
mod spec;

pub use methods::{Bucket, Cutoffs, Method, Sums};
pub use spec::{Average, Bos, Eos, Keep, Labels, Mask, Part, ScoreSpec, Windows};
