//! Writing documents again: every input column, and ours beside them.
//!
//! The same batches give the same bytes: no time, no name and no host goes into a file. JSONL from JSONL
//! keeps each line as it was written (number formats, order of keys, spaces) and only appends members
//! before its closing brace. JSONL to a table needs a schema, which is known only after the last line:
//! lines wait in memory, beyond a few megabytes in a temporary file.

mod jsonl;
mod spool;
mod table;

use std::io::Write;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{FieldRef, Schema, SchemaRef};
use gristmill_core::{Code, Error, Result};

use crate::batch::{DocBatch, RowColumns};
use crate::fault;
use crate::format::OutputFormat;
use jsonl::JsonlWriter;
use spool::Spool;
pub(crate) use table::TableWriter;

/// Writes the documents of one shard.
pub struct ShardWriter<W: Write + Send> {
    path: String,
    kind: Kind<W>,
    expected: Option<(Option<SchemaRef>, Vec<FieldRef>)>,
    rows: u64,
}

enum Kind<W: Write + Send> {
    Jsonl(Box<JsonlWriter<W>>),
    /// A table before its first batch, which decides whether it has a schema already.
    Undecided(W, OutputFormat),
    Table(TableWriter<W>),
    Spool(Box<Spool>, W, OutputFormat),
    /// A write failed; there is nothing left to finish.
    Broken,
}

impl<W: Write + Send> ShardWriter<W> {
    /// Starts a file of this format in `dest`; `path` names it in errors.
    pub fn create(dest: W, path: &str, format: OutputFormat) -> Result<Self> {
        let kind = match format {
            OutputFormat::Jsonl(compression) => {
                Kind::Jsonl(Box::new(JsonlWriter::new(dest, compression, path)?))
            }
            OutputFormat::Parquet | OutputFormat::Arrow => Kind::Undecided(dest, format),
        };
        Ok(Self { path: path.into(), kind, expected: None, rows: 0 })
    }

    /// The columns of a table that may stay empty: those of the input
    /// ([`ShardReader::schema`](crate::ShardReader::schema)) and ours.
    pub fn expect(mut self, columns: Option<SchemaRef>, extra: Vec<FieldRef>) -> Self {
        self.expected = Some((columns, extra));
        self
    }

    /// Appends the documents of a batch that was read with [`Columns::All`](crate::Columns::All), and
    /// the values of further columns beside them.
    ///
    /// A further column of the name of an input column is [`Code::InvalidArgument`] with that name.
    pub fn write(&mut self, batch: &DocBatch, extra: &[(FieldRef, ArrayRef)]) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        if let Some((field, _)) = extra.iter().find(|(_, a)| a.len() != batch.len()) {
            return Err(Error::new(Code::Internal, "a column of another length").at_column(field.name()));
        }
        let columns = batch.columns.as_ref().ok_or_else(|| {
            Error::new(Code::Internal, "the documents were read without their columns").at_path(&self.path)
        })?;
        self.check_names(columns, extra)?;
        let result = self.write_columns(columns, extra);
        if result.is_err() {
            self.kind = Kind::Broken;
        }
        self.rows += batch.len() as u64;
        result
    }

    fn write_columns(&mut self, columns: &RowColumns, extra: &[(FieldRef, ArrayRef)]) -> Result<()> {
        self.decide(columns)?;
        match (&mut self.kind, columns) {
            (Kind::Jsonl(w), RowColumns::Json(json)) => w.append(&json.lines, extra),
            (Kind::Jsonl(w), RowColumns::Arrow(batch)) => w.encode(&beside(batch, extra)?),
            (Kind::Table(w), RowColumns::Arrow(batch)) => w.write(&beside(batch, extra)?),
            (Kind::Spool(spool, ..), RowColumns::Json(json)) => spool.push(&json.lines, extra),
            (Kind::Broken, _) => Err(self.broken()),
            _ => Err(Error::new(Code::Internal, "the documents of one shard come in two forms")
                .at_path(&self.path)),
        }
    }

    /// The first batch of a table says which columns it has, or that this must be found out.
    fn decide(&mut self, columns: &RowColumns) -> Result<()> {
        if !matches!(self.kind, Kind::Undecided(..)) {
            return Ok(());
        }
        if let Kind::Undecided(dest, format) = std::mem::replace(&mut self.kind, Kind::Broken) {
            self.kind = match columns {
                RowColumns::Json(_) => Kind::Spool(Box::new(Spool::new(&self.path)), dest, format),
                RowColumns::Arrow(_) => Kind::Table(TableWriter::new(dest, &self.path, format)),
            };
        }
        Ok(())
    }

    fn check_names(&self, columns: &RowColumns, extra: &[(FieldRef, ArrayRef)]) -> Result<()> {
        let taken = |name: &str| match columns {
            RowColumns::Arrow(batch) => batch.schema().column_with_name(name).is_some(),
            RowColumns::Json(json) => json.keys.iter().any(|k| k == name),
        };
        match extra.iter().find(|(field, _)| taken(field.name())) {
            None => Ok(()),
            Some((field, _)) => {
                Err(Error::new(Code::InvalidArgument, "the input has a column of this name already")
                    .at_path(&self.path)
                    .at_column(field.name())
                    .hint(
                        "was this input written by Gristmill? select from the original, or rename the column",
                    ))
            }
        }
    }

    fn broken(&self) -> Error {
        Error::new(Code::Internal, "the file was given up after an error").at_path(&self.path)
    }

    /// Documents written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Ends the file and gives back what it was written to.
    pub fn finish(mut self) -> Result<W> {
        match std::mem::replace(&mut self.kind, Kind::Broken) {
            Kind::Jsonl(w) => w.finish(),
            Kind::Table(w) => w.finish(),
            Kind::Spool(spool, dest, format) => spool.finish(TableWriter::new(dest, &self.path, format)),
            Kind::Undecided(dest, format) => {
                let (columns, extra) = self.expected.take().unwrap_or_default();
                let columns = columns.map_or_else(Schema::empty, |s| s.as_ref().clone());
                let fields = columns.fields().iter().cloned().chain(extra).collect::<Vec<_>>();
                let schema = Schema::new_with_metadata(fields, columns.metadata().clone());
                let mut table = TableWriter::new(dest, &self.path, format);
                table.start(&schema.into())?;
                table.finish()
            }
            Kind::Broken => Err(self.broken()),
        }
    }
}

/// Input columns and ours as one batch.
fn beside(batch: &RecordBatch, extra: &[(FieldRef, ArrayRef)]) -> Result<RecordBatch> {
    let schema = batch.schema();
    let fields = schema.fields().iter().cloned().chain(extra.iter().map(|(f, _)| f.clone()));
    let schema = Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone());
    let columns = batch.columns().iter().cloned().chain(extra.iter().map(|(_, a)| a.clone()));
    RecordBatch::try_new(schema.into(), columns.collect()).map_err(fault::arrow)
}
