//! Reading one shard: a thread decodes ahead, the consumer takes batches.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use arrow_schema::SchemaRef;
use gristmill_core::{Code, Control, Error, Result};

use crate::batch::DocBatch;
use crate::fault;
use crate::filter::Filter;
use crate::format::Format;
use crate::formats;
use crate::quarantine::{Quarantined, Raw};
use crate::queue::Queue;
use crate::source::{OnError, Shard, Source};

/// Which columns a read delivers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Columns {
    /// Text, id and group; nothing else is decoded.
    #[default]
    Text,
    /// These and every input column as it is, to be written again.
    All,
}

/// What to read of a shard.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// Which columns.
    pub columns: Columns,
    /// Only these rows, ascending and distinct; `None` is every row. The row filter applies all the same.
    /// Rows that are passed over are not decoded, and in Parquet files with a page index not even fetched.
    pub rows: Option<Vec<u64>>,
}

impl ReadOptions {
    /// Every column of every row.
    pub fn all() -> Self {
        Self { columns: Columns::All, rows: None }
    }

    /// Every column of these rows.
    pub fn rows(rows: Vec<u64>) -> Self {
        Self { columns: Columns::All, rows: Some(rows) }
    }
}

/// What became of the rows of a shard. `read = delivered + filtered + quarantined`, and null and empty
/// texts are among the delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadStats {
    /// Rows met, of those asked for.
    pub read: u64,
    /// Rows handed on.
    pub delivered: u64,
    /// Rows that the row filter rejected.
    pub filtered: u64,
    /// Delivered rows without a text.
    pub null_text: u64,
    /// Delivered rows whose text has no character.
    pub empty_text: u64,
    /// Rows put aside.
    pub quarantined: u64,
    /// Parts of the file that could not be read and whose rows, where their number is unknown, are not in
    /// `read`: the rest of a damaged stream, or a whole file.
    pub damaged: u64,
    /// Bytes of text delivered.
    pub bytes: u64,
}

impl std::ops::AddAssign for ReadStats {
    fn add_assign(&mut self, o: Self) {
        self.read += o.read;
        self.delivered += o.delivered;
        self.filtered += o.filtered;
        self.null_text += o.null_text;
        self.empty_text += o.empty_text;
        self.quarantined += o.quarantined;
        self.damaged += o.damaged;
        self.bytes += o.bytes;
    }
}

/// The batches of one shard, read and decoded ahead. Dropping it stops the thread.
pub struct ShardReader {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    failed: bool,
}

struct Shared {
    queue: Queue<Result<DocBatch>>,
    stats: Mutex<ReadStats>,
    schema: Mutex<Option<SchemaRef>>,
}

impl ShardReader {
    pub(crate) fn start(
        source: &Source,
        filter: Option<Filter>,
        shard: &Shard,
        options: ReadOptions,
        control: &Control,
    ) -> Result<Self> {
        if options.rows.as_ref().is_some_and(|r| r.windows(2).any(|w| w[0] >= w[1])) {
            return Err(Error::invalid_argument("rows", "rows must ascend and differ"));
        }
        let shared = Arc::new(Shared {
            queue: Queue::new(source.batch_bytes.saturating_mul(4)),
            stats: Mutex::default(),
            schema: Mutex::default(),
        });
        let mut out = Out {
            task: Task { source: source.clone(), filter, shard: shard.clone(), options },
            control: control.clone(),
            shared: shared.clone(),
            stats: ReadStats::default(),
            opened: false,
            aside: Vec::new(),
            aside_bytes: 0,
        };
        let thread = std::thread::Builder::new().name("gristmill-decode".into()).spawn(move || out.run());
        let thread = thread.map_err(|e| Error::io(&shard.url, "start a thread to read", e))?;
        Ok(Self { shared, thread: Some(thread), failed: false })
    }

    /// What became of the rows; complete once the iterator has ended.
    pub fn stats(&self) -> ReadStats {
        *self.shared.stats.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The schema of all input columns of a Parquet, Arrow or plain-text shard, once its first batch was
    /// delivered or the iterator has ended; `None` for JSONL, whose lines have none.
    pub fn schema(&self) -> Option<SchemaRef> {
        self.shared.schema.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
}

impl Iterator for ShardReader {
    type Item = Result<DocBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.shared.queue.pop();
        self.failed = matches!(item, None | Some(Err(_)));
        item
    }
}

impl Drop for ShardReader {
    fn drop(&mut self) {
        self.shared.queue.abandon();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What a format is asked to do.
pub(crate) struct Task {
    pub(crate) source: Source,
    pub(crate) filter: Option<Filter>,
    pub(crate) shard: Shard,
    pub(crate) options: ReadOptions,
}

impl Task {
    pub(crate) fn all_columns(&self) -> bool {
        self.options.columns == Columns::All
    }

    /// The id of a row whose document has none.
    pub(crate) fn made_id(&self, row: u64) -> String {
        format!("{}:{row}", self.shard.name)
    }
}

/// Where a format delivers what it decodes.
pub(crate) struct Out {
    pub(crate) task: Task,
    control: Control,
    shared: Arc<Shared>,
    pub(crate) stats: ReadStats,
    /// The file could be opened: from here on a failing device is no property of the input.
    pub(crate) opened: bool,
    aside: Vec<Quarantined>,
    aside_bytes: usize,
}

impl Out {
    fn run(&mut self) {
        let result = fault::contain(|| self.read());
        let result = result.and_then(|()| match self.aside.is_empty() {
            true => Ok(()),
            false => self.deliver(Self::empty(self.task.shard.index)),
        });
        *self.shared.stats.lock().unwrap_or_else(|e| e.into_inner()) = self.stats;
        if let Err(e) = result {
            self.shared.queue.push(Err(e.at_path(&self.task.shard.url)), 0);
        }
        self.shared.queue.finish();
    }

    fn read(&mut self) -> Result<()> {
        let result = match self.task.shard.format {
            Format::Jsonl => formats::jsonl::read(self),
            Format::Text => formats::text::read(self),
            Format::Parquet => formats::parquet::read(self),
            Format::Arrow => formats::arrow::read(self),
        };
        match result {
            // What is left unreadable is one record; the rows before it were delivered.
            Err(e) if self.tolerates(&e) => {
                let lost = e.location().row;
                self.set_aside(e, None, lost, Raw::Absent)
            }
            other => other,
        }
    }

    /// Whether this error is bad input to put aside, and not a failure of the job.
    pub(crate) fn tolerates(&self, e: &Error) -> bool {
        let input = matches!(
            e.code(),
            Code::CorruptData
                | Code::InvalidUtf8
                | Code::MissingColumn
                | Code::WrongType
                | Code::InvalidValue
                | Code::Unsupported
        ) || (!self.opened && matches!(e.code(), Code::NotFound | Code::Io));
        // A filter that cannot work is the request's fault in every row.
        self.task.source.on_error == OnError::Quarantine
            && input
            && e.location().column.as_deref() != Some("where")
    }

    /// Puts one row aside, or fails with its error, as was asked.
    pub(crate) fn bad_row(&mut self, e: Error, row: u64, raw: Raw) -> Result<()> {
        let e = e.at_path(&self.task.shard.url).at_row(row);
        if !self.tolerates(&e) {
            return Err(e);
        }
        self.stats.read += 1;
        self.stats.quarantined += 1;
        self.set_aside(e, Some(1), Some(row), raw)
    }

    /// Puts a known number of rows from `row` on aside, or fails with their error.
    pub(crate) fn bad_rows(&mut self, e: Error, row: u64, rows: u64) -> Result<()> {
        let e = e.at_path(&self.task.shard.url).at_row(row);
        if !self.tolerates(&e) {
            return Err(e);
        }
        self.stats.read += rows;
        self.stats.quarantined += rows;
        self.set_aside(e, Some(rows), Some(row), Raw::Absent)
    }

    fn set_aside(&mut self, e: Error, rows: Option<u64>, row: Option<u64>, raw: Raw) -> Result<()> {
        if rows != Some(1) {
            self.stats.damaged += 1;
        }
        let e = e.at_path(&self.task.shard.url);
        let record = Quarantined { rows, row, ..Quarantined::new(&e, raw) };
        self.aside_bytes += record.weight();
        self.aside.push(record);
        if self.aside_bytes >= self.task.source.batch_bytes {
            self.deliver(Self::empty(self.task.shard.index))?;
        }
        Ok(())
    }

    fn empty(shard: usize) -> DocBatch {
        let none = || arrow_array::StringArray::from(Vec::<&str>::new());
        DocBatch {
            shard,
            rows: Vec::new(),
            ids: none(),
            text: none(),
            group: None,
            columns: None,
            quarantined: Vec::new(),
        }
    }

    pub(crate) fn set_schema(&self, schema: SchemaRef) {
        *self.shared.schema.lock().unwrap_or_else(|e| e.into_inner()) = Some(schema);
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.control.check()
    }

    /// Hands a batch on; waits while the consumer is behind.
    pub(crate) fn deliver(&mut self, mut batch: DocBatch) -> Result<()> {
        use arrow_array::Array;
        self.control.check()?;
        let n = batch.len() as u64;
        self.stats.read += n;
        self.stats.delivered += n;
        self.stats.null_text += batch.text.null_count() as u64;
        let offsets = batch.text.offsets();
        let blank = (0..batch.len()).filter(|&i| batch.text.is_valid(i) && offsets[i] == offsets[i + 1]);
        self.stats.empty_text += blank.count() as u64;
        self.stats.bytes += (offsets[batch.len()] - offsets[0]) as u64;
        batch.quarantined = std::mem::take(&mut self.aside);
        self.aside_bytes = 0;
        let weight = batch.weight();
        match self.shared.queue.push(Ok(batch), weight) {
            true => Ok(()),
            false => Err(Error::new(Code::Aborted, "the reader was dropped")),
        }
    }
}
