//! Transformer language models, read from the files in which others publish them.
//!
//! A model is a folder with `config.json`, `tokenizer.json` and safetensors, or one GGUF file. Files differ by
//! family, by release of the library that wrote them and by what a converter did to them: fused projections,
//! transposed or permuted rows, quantised blocks, keys of five spellings. All of this ends in this crate's first
//! three modules:
//!
//! 1. [`config`] says what the model is: sizes and choices, spelt out one by one. What would change the numbers and
//!    is not implemented is refused by key and value.
//! 2. [`checkpoint`] hands out the weights under canonical names, as `[out, in]` matrices in f32 or bf16, whatever
//!    the file had: one tensor at a time, so that loading takes the memory of the model and of one tensor.
//! 3. [`tokenizer`] turns text into ids, by a `tokenizer.json` or by the vocabulary inside a GGUF file.
//!
//! Above them, [`model`] is the transformer on any device, [`windows`] says how a document is cut for it, and
//! [`losses`] puts many windows through it.
//!
//! ```no_run
//! use gristmill_core::DType;
//! use gristmill_lm::Checkpoint;
//!
//! let checkpoint = Checkpoint::open("SmolLM2-135M")?;
//! println!("{} layers of {}", checkpoint.config().layers, checkpoint.config().hidden);
//! let embed = checkpoint.tensor("embed.weight", DType::F32)?;
//! assert_eq!(embed.shape, [checkpoint.config().vocab, checkpoint.config().hidden]);
//! let ids = checkpoint.tokenizer()?.encode("The mill turns.")?;
//! # Ok::<(), gristmill_core::Error>(())
//! ```
//!
//! # Files are hostile until read
//!
//! They come from anywhere. No length that a file claims is believed before it is compared with the length of the
//! file; every offset and product is checked before anything is allocated; names, overlaps and shapes are checked
//! before a weight is read. Files are read and never mapped: a mapped file that shrinks kills the process.
//!
//! # How it is checked
//!
//! Small models with random weights of every family, made by transformers, and values that the `gguf` package
//! dequantised are committed with the scripts that made them (`tests/fixtures`); SmolLM2-135M is fetched.

pub mod checkpoint;
pub mod config;
pub mod gguf;
pub mod losses;
pub mod model;
pub mod tokenizer;
pub mod windows;

pub use checkpoint::{Checkpoint, HostTensor};
pub use config::Config;
pub use losses::{LanguageModel, LoadOptions};
pub use model::{Batch, Tokens, Transformer};
pub use tokenizer::Tokenizer;
