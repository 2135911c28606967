//! Plain text: the whole file is one document, or each line is.
//!
//! The columns to write again are `id` and `text`. An empty line is an empty document: dropping it would
//! shift every row after it.

use std::io::Read;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use gristmill_core::{Code, Error, Result};

use super::jsonl::missing_rows;
use crate::batch::{DocBatch, RowColumns, Texts};
use crate::fault;
use crate::filter::{Evaluator, Filter};
use crate::quarantine::Raw;
use crate::reader::Out;
use crate::stream::{BoxRead, Line, Lines, layer};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("text", DataType::Utf8, true),
    ]))
}

pub(crate) fn read(out: &mut Out) -> Result<()> {
    check_columns(out)?;
    let stream = super::open_stream(out)?;
    out.set_schema(schema());
    let mut builder = Builder {
        rows: Vec::new(),
        ids: Texts::new(),
        text: Texts::new(),
        filter: out.task.filter.as_ref().map(Filter::evaluator),
    };
    match out.task.source.lines {
        true => read_lines(out, stream, &mut builder)?,
        false => read_whole(out, stream, &mut builder)?,
    }
    builder.flush(out)
}

fn check_columns(out: &Out) -> Result<()> {
    const NAMES: [&str; 2] = ["id", "text"];
    let source = &out.task.source;
    let named = [(&source.text, "text"), (&source.id, "id"), (&source.group, "")];
    for (name, only) in named {
        if let Some(name) = name.as_ref().filter(|n| *n != only) {
            return Err(Error::new(Code::MissingColumn, "plain text has only the columns id and text")
                .at_column(name));
        }
    }
    if let Some(filter) = &out.task.filter {
        let missing = filter.columns().iter().find(|c| filter.requires(c) && !NAMES.contains(&c.as_str()));
        if let Some(missing) = missing {
            return Err(filter.missing(missing, &NAMES));
        }
    }
    Ok(())
}

fn read_whole(out: &mut Out, stream: BoxRead, builder: &mut Builder) -> Result<()> {
    if let Some(rows) = &out.task.options.rows {
        missing_rows(rows.iter().copied().find(|r| *r > 0), None)?;
        if rows.is_empty() {
            return Ok(());
        }
    }
    let limit = out.task.source.max_document_bytes;
    let mut bytes = Vec::new();
    let read = stream.take(limit as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|e| fault::decompress(layer(out.task.shard.compression), e).at_row(0))?;
    if bytes.len() > limit {
        let e = Error::new(Code::InvalidValue, format!("a document of over {limit} bytes"));
        return out.bad_row(e.hint("read it line by line with --lines"), 0, Raw::Absent);
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    builder.add(out, text, 0)
}

fn read_lines(out: &mut Out, stream: BoxRead, builder: &mut Builder) -> Result<()> {
    let limit = out.task.source.max_document_bytes;
    let mut lines = Lines::new(stream, out.task.shard.compression, limit);
    let mut rows = out.task.options.rows.clone().map(|r| r.into_iter().peekable());
    loop {
        let row = lines.next_row();
        if rows.as_mut().is_some_and(|r| r.peek().is_none()) {
            return Ok(());
        }
        let line = match lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => return missing_rows(None, rows.and_then(|mut r| r.next())),
            Err(e) => {
                builder.flush(out)?;
                return Err(e);
            }
        };
        if rows.as_mut().is_some_and(|r| r.next_if_eq(&row).is_none()) {
            continue;
        }
        match line {
            Line::Whole(line) => builder.add(out, line, row)?,
            Line::TooLong(n) => {
                let e =
                    Error::new(Code::InvalidValue, format!("a line of {n} bytes, over the limit of {limit}"));
                out.bad_row(e, row, Raw::Absent)?;
            }
        }
    }
}

struct Builder {
    rows: Vec<u64>,
    ids: Texts,
    text: Texts,
    filter: Option<Evaluator>,
}

impl Builder {
    fn add(&mut self, out: &mut Out, bytes: &[u8], row: u64) -> Result<()> {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) => {
                let e = Error::new(Code::InvalidUtf8, format!("not UTF-8 at byte {} of it", e.valid_up_to()));
                return out.bad_row(e, row, Raw::of(bytes));
            }
        };
        let id = match out.task.source.lines {
            true => out.task.made_id(row),
            false => out.task.shard.name.clone(),
        };
        if let Some(filter) = &mut self.filter {
            filter.set("id", id.as_str().into());
            filter.set("text", text.into());
            match filter.keeps() {
                Ok(true) => {}
                Ok(false) => {
                    out.stats.read += 1;
                    out.stats.filtered += 1;
                    return Ok(());
                }
                Err(e) => return out.bad_row(e, row, Raw::of(bytes)),
            }
        }
        self.rows.push(row);
        self.ids.push(Some(&id));
        self.text.push(Some(text));
        let full =
            self.rows.len() >= out.task.source.batch_rows || self.text.bytes() >= out.task.source.batch_bytes;
        if full { self.flush(out) } else { Ok(()) }
    }

    fn flush(&mut self, out: &mut Out) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let (ids, text): (StringArray, StringArray) = (self.ids.finish(), self.text.finish());
        let columns: Vec<ArrayRef> = vec![Arc::new(ids.clone()), Arc::new(text.clone())];
        let columns = match out.task.all_columns() {
            true => Some(RowColumns::Arrow(RecordBatch::try_new(schema(), columns).map_err(fault::arrow)?)),
            false => None,
        };
        let rows = std::mem::take(&mut self.rows);
        let shard = out.task.shard.index;
        out.deliver(DocBatch { shard, rows, ids, text, group: None, columns, quarantined: Vec::new() })
    }
}
