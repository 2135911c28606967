//! Scores for tables that are in memory: batches in, batches out.
//!
//! A [`MemoryScorer`] takes record batches with text, with token ids, or with the log-probabilities that one
//! or two models gave to every token, and adds the columns of a [`ScoreSpec`](crate::ScoreSpec). Rows stay where they are, so
//! the result lies beside the input row by row. [`MemoryScorer::score_ipc`] does the same from Arrow IPC bytes
//! to Arrow IPC bytes, which is how tables cross from other languages.
//!
//! Logits, and log-probabilities too if one is given, are scored on a [`Device`](gristmill_core::Device):
//! [`MemoryScorer::on`].
//!
//! ```
//! use std::sync::Arc;
//! use arrow_array::{ListArray, RecordBatch, cast::AsArray, types::{Float32Type, Float64Type}};
//! use gristmill_core::Control;
//! use gristmill_score::memory::{MemoryOptions, MemoryScorer};
//!
//! // Two documents; the first token of each has no context and no probability.
//! let prior = [Some(vec![None, Some(-3.0), Some(-5.0)]), Some(vec![None, Some(-2.0)])];
//! let conditional = [Some(vec![None, Some(-2.0), Some(-4.0)]), Some(vec![None, Some(-2.5)])];
//! let list = |rows: [Option<Vec<Option<f32>>>; 2]| {
//!     Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(rows)) as _
//! };
//! let batch = RecordBatch::try_from_iter([("prior", list(prior)), ("conditional", list(conditional))])?;
//!
//! let options = MemoryOptions { log_probs: vec!["prior".into(), "conditional".into()], ..Default::default() };
//! let scored = MemoryScorer::new(options, None)?.score(&batch, &Control::default())?;
//! let score = scored.column_by_name("score").unwrap();
//! assert_eq!(score.as_primitive::<Float64Type>().values(), &[1.0, -0.5]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is an error and what is NaN
//!
//! | Input | Result |
//! |---|---|
//! | a null row; an empty text or list; a list in which nothing is scored | score NaN, `n_scored` 0 |
//! | a NaN among log-probabilities; infinite loss under both models | score NaN |
//! | a null among log-probabilities | that token counts, but is not scored |
//! | a log-probability above 0 (by more than rounding) | error with row and column |
//! | two models with other lengths or other nulls in a row | error with row and column |
//! | a null, a negative or an unknown id among token ids | error with row and column |
//! | a packed row of another length than the specification says | error with row and column |
//! | logits and targets that are not of the same tokens; a target outside the vocabulary; a null among them | error with row and column |
//! | a NaN among logits | score NaN |
//!
//! A score of NaN is never selected; the selection reports how many there were.

mod adapted;
mod columns;
mod device;
mod ipc;
mod linear;
mod lists;
mod loss_model;
mod models;
mod neural;
mod ngrams;
mod options;
mod pack;
mod scorer;
#[cfg(test)]
mod tests;
mod weights;

pub use linear::HashedLinear;
pub(crate) use loss_model::each;
pub use loss_model::{LossModel, Scratch};
pub use models::{LoadedModels, ModelOptions};
pub(crate) use neural::transformer;
pub use neural::{Neural, NeuralOptions, Recipe};
pub use ngrams::Ngrams;
pub use options::{LogBase, MemoryOptions};
pub use pack::Packer;
pub use scorer::MemoryScorer;
pub use weights::HashedWeights;
