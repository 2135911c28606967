//! N-gram language models, the embedded default of Gristmill: estimated natively, read from the files
//! that others publish, queried fast, adapted to a small sample of what is wanted.
//!
//! An n-gram model needs no accelerator and no download, learns from the corpus at hand in minutes, and
//! scores tens of millions of words a second on one core. For the question that data selection asks, which
//! documents are like these, it is hard to beat.
//!
//! # The way of a text
//!
//! 1. [`normalize`] splits it into words, by a rule with a name and a version that the model records.
//! 2. [`vocab`] turns words into ids.
//! 3. [`estimate`] makes [`tables`] of it: interpolated modified Kneser-Ney, as `lmplz` defines it, in
//!    bounded memory.
//! 4. [`gml`] saves tables with their metadata, [`arpa`] exchanges them with others.
//! 5. [`model`] loads any of these files, and KenLM's binaries, and answers queries, as KenLM defines them.
//! 6. [`adapt`] pairs a model of a pool with one of a target sample, [`hashed`] does without models: hashed
//!    n-gram importance weights, as DSIR.
//!
//! ```
//! use gristmill_core::Control;
//! use gristmill_ngram::estimate::{Estimator, FALLBACK_DISCOUNTS, Options};
//! use gristmill_ngram::gml;
//! use gristmill_ngram::model::{Model, ModelMeta};
//! use gristmill_ngram::normalize::{Normalizer, Scratch};
//!
//! let normalizer = Normalizer::default();
//! let mut scratch = Scratch::default();
//! let options = Options { order: 3, discount_fallback: Some(FALLBACK_DISCOUNTS), ..Options::default() };
//! let mut estimator = Estimator::new(options)?;
//! for document in ["The mill turns.", "The stream turns the mill."] {
//!     let mut ids = Vec::new();
//!     normalizer.for_each_token(document, &mut scratch, &mut |word: &str| {
//!         ids.push(estimator.vocab_mut().intern(word));
//!     })?;
//!     estimator.add_sentence(&ids)?;
//! }
//! let trie = estimator.finish(&Control::default())?.trie;
//!
//! let folder = tempfile::tempdir().unwrap();
//! let path = folder.path().join("mill.gml");
//! let meta = ModelMeta { normalizer: Some(normalizer.spec().clone()), ..ModelMeta::default() };
//! let sha256 = gml::save(&trie, &meta, &path)?;
//!
//! let model = Model::load(&path)?;
//! assert_eq!(model.sha256(), Some(sha256.as_str()));
//! let mut score = |document: &str| -> gristmill_core::Result<f32> {
//!     let mut ids = Vec::new();
//!     normalizer.for_each_token(document, &mut scratch, &mut |word: &str| ids.push(model.encode(word)))?;
//!     let mut log10 = Vec::new();
//!     model.score(&ids, true, true, &mut log10);
//!     Ok(log10.iter().sum())
//! };
//! assert!(score("The mill turns the stream.")? > score("Stream the turns mill the.")?);
//! # Ok::<(), gristmill_core::Error>(())
//! ```
//!
//! # How it is checked
//!
//! KenLM is the reference: estimates equal those of `lmplz`, n-gram by n-gram, and queries equal KenLM's own
//! on the same ARPA file and on every kind of its binaries, word by word. Where KenLM is not installed, its
//! numbers for small models are part of the tests.

pub mod adapt;
pub mod arpa;
pub mod estimate;
pub mod gml;
pub mod hashed;
pub mod model;
pub mod normalize;
pub mod tables;
pub mod vocab;

mod kenlm;
mod replace;
mod source;
