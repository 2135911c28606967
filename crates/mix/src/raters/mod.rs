//! Raters: numbers that say how much a document is wanted, learnt from examples.
//!
//! Everything here works on rows of numbered features ([`Rows`]) and knows nothing of text: whoever calls it
//! hashes n-grams ([`Bags`] in memory or [`BagSpool`] on disk, [`TfIdf`]) or brings embeddings ([`Dense`]).
//!
//! - [`fit_logistic`]: logistic regression with soft labels, weights and an L2 penalty, by coordinate descent
//!   in the dual; [`Platt`] makes its margins probabilities, on margins of rows that were held out.
//! - [`self_train`]: rows without a label get the one of which the classifier is sure, and it learns again.
//! - [`fit_pairs`]: Bradley and Terry's model from judgements of pairs, with contradictions counted.
//! - [`Curriculum`]: an order of any number of documents, easy to hard within a mixture of topics.
//! - [`fit_rater_weights`]: how much each of several raters should count, from training runs (Meta-rater).

mod bags;
mod calibration;
mod curriculum;
mod logistic;
mod metarater;
mod pairs;
mod rows;
mod selftrain;
mod spool;
mod tfidf;

pub use bags::{Bags, Counter, TfIdf, term_frequency};
pub use calibration::Platt;
pub use curriculum::{Curriculum, CurriculumItem, CurriculumOptions, Direction};
pub use logistic::{Linear, LogisticOptions, Targets, fit_logistic, held_out_margins};
pub use metarater::{Moments, fit_rater_weights, read_rater_runs};
pub use pairs::{Comparison, Contradiction, HeldOutPairs, PairFit, PairOptions, contradictions, fit_pairs};
pub use rows::{Dense, Differences, Rows};
pub use selftrain::{SelfTrainOptions, SelfTraining, self_train};
pub use spool::{BagSpool, Spooled, SpooledBags};
pub use tfidf::TfIdfRows;
