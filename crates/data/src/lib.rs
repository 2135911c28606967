//! Corpora in and out: shards, formats, and the commit protocol that makes jobs resumable.
//!
//! # What it is for
//!
//! Text for pre-training lies in thousands of files of four or five formats, on disks and in object stores,
//! and some of it is broken. Every method of Gristmill wants the same thing from it: batches of documents
//! with an id and a text, in a fixed order, in bounded memory, and a clear word about each document that
//! cannot be had. And every job writes many files, is killed half way, and should go on where it was.
//!
//! # Reading
//!
//! A [`Source`] says what to read. [`Corpus::open`] turns its paths, directories, globs and URLs into
//! [`Shard`]s, sorted by URL, each with a name for what is made of it and a fingerprint; no document is read
//! yet. [`Corpus::read`] starts a thread that reads and decodes one shard ahead of its consumer, through a
//! queue bounded by batches and by bytes; the [`ShardReader`] is the iterator at its other end. Decompression
//! and object stores have one more thread, so that a single large file keeps three cores busy. Nothing is
//! global: when the reader is dropped, its threads and its connections are gone.
//!
//! | format | extensions | notes |
//! |---|---|---|
//! | [`Format::Parquet`] | `.parquet`, `.pq` | columns by projection; the filter's columns first, then the rest for the rows that passed; only the pages needed when rows are given |
//! | [`Format::Jsonl`] | `.jsonl`, `.ndjson`, `.json`, each also `.gz`, `.zst` | one walk over each line; several gzip members or zstd frames |
//! | [`Format::Arrow`] | `.arrow`, `.arrows`, `.feather`, `.ipc` | file or stream |
//! | [`Format::Text`] | `.txt`, `.text`, also `.gz`, `.zst` | one document a file, or with [`Source::lines`] a line |
//!
//! A file of another name is recognised by its first bytes. A directory is searched for these extensions,
//! without hidden files, without plain `.json` (there tools keep what describes the data) and, where it
//! holds anything else, without plain text (a README). `s3://`, `gs://`, `az://`, `abfss://` and `https://` are
//! read with the settings that `AWS_*`, `GOOGLE_*` and `AZURE_*` give; `memory://name/` is a store inside of the
//! process.
//!
//! **Columns.** The text is the column named, else the first of [`TEXT_NAMES`] that holds text, else the only
//! text column. The id is the column named, else the first of [`ID_NAMES`]; whole numbers are rendered, and
//! where there is no id it is made of the shard's name and the row. A row is a row of a table or a line of a
//! line format, from 0. In JSONL a column exists when one of the first 1,024 lines has it, and a line
//! without it has a null.
//!
//! **Filters** ([`Source::filter`]) are expressions of the
//! [Common Expression Language](https://github.com/google/cel-spec) over the columns, such as
//! `lang == "en" && score > 0.5`. Only the columns named are decoded for it. Structs and JSON objects are maps,
//! dates and times are ISO 8601 text, nulls are `null`. An expression that has no value for a row (`score > 0.5`
//! where `score` is null) makes that row bad input: write `score != null && score > 0.5`.
//!
//! # Bad input
//!
//! Under [`OnError::Fail`] the first bad row ends the read with an error that says the file, the row group,
//! the row and the column. Under [`OnError::Quarantine`] it becomes a [`Quarantined`] record in the next
//! batch, and the counts of [`ReadStats`] add up: `read = delivered + filtered + quarantined`.
//!
//! * A bad row (not UTF-8, not JSON, of the wrong type, over the limit) costs that row; the record holds it
//!   as it was read, in Base64 where it is no text. (Of a table only the text column is held, and only for
//!   text that is not UTF-8: the file itself stays.)
//! * Damage inside a stream (gzip, zstd, Arrow) keeps the documents before it and costs the rest of the file,
//!   as one record with the first row lost. A wrong checksum shows at the end of a gzip member, after its
//!   documents were delivered.
//! * Damage inside a Parquet file costs the rest of its row group; the next is tried. A damaged footer costs
//!   the file.
//! * A file that cannot be opened, or that lacks a column, is one record. A device that fails later is not a
//!   property of the input, and always an error.
//!
//! Null and empty texts are no errors: they are delivered, and counted apart. Decoders that panic on hostile
//! bytes are caught, and what a file claims about its sizes is checked before memory is given to it.
//!
//! # Writing and committing
//!
//! A [`ShardWriter`] writes documents again with all their columns and further ones beside them, the same
//! bytes for the same documents. A [`Job`] publishes files with a record that vouches for them, so that a
//! run that is killed at any moment goes on where it was, alone or as one of many workers ([`WorkerShare`]).
//! [`SidecarWriter`] and [`read_tables`] are for tables of scores.
//!
//! # Example
//!
//! Copy the English documents of a pool, each with its length, in a job that can be killed:
//!
//! ```
//! use std::sync::Arc;
//!
//! use arrow_array::{ArrayRef, UInt64Array};
//! use arrow_schema::{DataType, Field};
//! use gristmill_core::{Control, Result};
//! use gristmill_data::{Corpus, Job, JobOptions, JobSpec, ReadOptions, ShardWriter, Source};
//!
//! fn copy_english(pool: &str, out: &str) -> Result<u64> {
//!     let control = Control::default();
//!     let source = Source { filter: Some("lang == 'en'".into()), ..Source::new([pool]) };
//!     let corpus = Corpus::open(source, &control)?;
//!     let spec = JobSpec::new("copy", serde_json::json!({ "lang": "en" })).input("pool", &corpus);
//!     let job = Job::open(out, spec, JobOptions::default())?;
//!     for shard in corpus.shards() {
//!         if job.commit_of("copy", shard.index)?.is_some() {
//!             continue; // done by an earlier run
//!         }
//!         let format = shard.output_format();
//!         let name = shard.output_name(format);
//!         let mut writer = ShardWriter::create(job.temp_writer(&name)?, &name, format)?;
//!         for batch in corpus.read(shard.index, ReadOptions::all(), &control)? {
//!             let batch = batch?;
//!             let lengths = (0..batch.len()).map(|i| batch.text(i).map(|t| t.len() as u64));
//!             let lengths: ArrayRef = Arc::new(lengths.collect::<UInt64Array>());
//!             writer.write(&batch, &[(Arc::new(Field::new("n_bytes", DataType::UInt64, true)), lengths)])?;
//!         }
//!         let rows = writer.rows();
//!         job.commit("copy", shard.index, vec![writer.finish()?.finish()?], serde_json::json!(rows))?;
//!     }
//!     let commits = job.complete("copy", corpus.shards().len())?.unwrap_or_default();
//!     Ok(commits.iter().filter_map(|c| c.state.as_u64()).sum())
//! }
//!
//! # fn main() -> Result<()> {
//! let dir = tempfile::tempdir().unwrap();
//! let pool = dir.path().join("pool.jsonl");
//! std::fs::write(&pool, "{\"text\":\"hello\",\"lang\":\"en\"}\n{\"text\":\"hallo\",\"lang\":\"de\"}\n").unwrap();
//! let out = dir.path().join("out");
//! assert_eq!(copy_english(pool.to_str().unwrap(), out.to_str().unwrap())?, 1);
//! let copied = std::fs::read_to_string(out.join("pool.jsonl")).unwrap();
//! assert_eq!(copied, "{\"text\":\"hello\",\"lang\":\"en\",\"n_bytes\":5}\n");
//! # Ok(())
//! # }
//! ```

mod batch;
mod column;
mod discover;
mod fault;
mod filter;
mod format;
mod formats;
mod ipc;
mod job;
mod json;
mod json_table;
mod place;
mod quarantine;
mod queue;
mod reader;
mod source;
mod stream;
mod tables;
mod tensors;
mod write;

pub use batch::{DocBatch, JsonLines, RowColumns};
pub use column::{ID_NAMES, TEXT_NAMES};
pub use format::{Compression, Format, OutputFormat};
pub use ipc::{IpcBatches, read_ipc};
pub use job::{Commit, Finished, InputPrint, Job, JobFile, JobOptions, JobSpec, Output, WorkerShare};
pub use quarantine::{Quarantined, Raw};
pub use reader::{Columns, ReadOptions, ReadStats, ShardReader};
pub use source::{Corpus, OnError, Shard, Source};
pub use tables::{SidecarWriter, Tables, read_all, read_metadata, read_tables};
pub use tensors::{TensorColumn, array_to_tensor, ragged_to_batch, read_tensor, tensor_to_batch};
pub use write::ShardWriter;
