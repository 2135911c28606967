//! Corpora in and out: shards, formats, and the commit protocol that makes jobs resumable.

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
pub use write::ShardWriter;
