//! Arrow IPC, file and stream, told apart by the first bytes.
//!
//! The reader of the `arrow-ipc` crate allocates what a message claims before it reads it. So every claim
//! (where a message lies, how long its parts are, how much they are when decompressed) is checked
//! against the size of the file first.

use std::io::{BufReader, Read, Seek, SeekFrom};

use arrow_array::RecordBatch;
use arrow_ipc::reader::{FileReaderBuilder, StreamReader};
use arrow_ipc::{Block, MessageHeader, root_as_footer, root_as_message};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::filter::filter_record_batch;
use gristmill_core::{Code, Error, Result};

use super::jsonl::missing_rows;
use super::table;
use crate::column::Roles;
use crate::fault;
use crate::filter::Evaluator;
use crate::format::ARROW_FILE_MAGIC;
use crate::place::{Input, InputReader};
use crate::reader::Out;

pub(crate) const WHAT: &str = "Arrow";

/// No buffer of a sane file decompresses to more.
const MAX_BUFFER: i64 = 1 << 33;

pub(crate) fn read(out: &mut Out) -> Result<()> {
    let input = super::open(out)?;
    let (schema, batches) = open(&input, None)?;
    let roles = table::roles(out, &schema)?;
    let mut roots = table::projection(out, &roles, &schema);
    let filter = out.task.filter.clone();
    if let Some(filter) = &filter {
        roots.extend(table::filter_projection(filter.columns(), &schema));
        roots.sort_unstable();
        roots.dedup();
    }
    out.set_schema(schema.clone());
    let mut batches =
        if roots.len() < schema.fields().len() { open(&input, Some(roots))?.1 } else { batches };
    let mut evaluator = filter.map(|f| f.evaluator());
    let mut first = 0;
    let mut index = 0;
    loop {
        out.check()?;
        let batch = match fault::guard(WHAT, || batches.next().transpose().map_err(fault::arrow)) {
            Ok(Some(batch)) => batch,
            Ok(None) => break,
            // Without this batch the numbers of the rows after it are unknown.
            Err(e) => return Err(e.at_row_group(index).at_row(first)),
        };
        let n = batch.num_rows() as u64;
        take(out, &roles, evaluator.as_mut(), batch, first, index)?;
        first += n;
        index += 1;
    }
    let beyond = out.task.options.rows.as_ref().and_then(|r| r.last().copied());
    missing_rows(beyond.filter(|r| *r >= first), None)
}

fn take(
    out: &mut Out,
    roles: &Roles,
    evaluator: Option<&mut Evaluator>,
    mut batch: RecordBatch,
    first: u64,
    index: u64,
) -> Result<()> {
    let mut rows: Vec<u64> = (first..first + batch.num_rows() as u64).collect();
    if let Some(wanted) = &out.task.options.rows {
        let mask = rows.iter().map(|r| Some(wanted.binary_search(r).is_ok())).collect();
        rows = table::kept(&mask).into_iter().map(|i| rows[i]).collect();
        if rows.is_empty() {
            return Ok(());
        }
        batch = filter_record_batch(&batch, &mask).map_err(fault::arrow)?;
    }
    if let Some(evaluator) = evaluator {
        let names = out.task.filter.as_ref().map(|f| f.columns().to_vec()).unwrap_or_default();
        let columns = table::filter_projection(&names, &batch.schema());
        let columns = batch.project(&columns).map_err(fault::arrow)?;
        let mask = table::evaluate(out, evaluator, &columns, &rows, Some(index))?;
        rows = table::kept(&mask).into_iter().map(|i| rows[i]).collect();
        batch = filter_record_batch(&batch, &mask).map_err(fault::arrow)?;
    }
    table::emit(out, roles, batch, rows)
}

/// The batches of a file or stream.
pub(crate) type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

/// Opens a file or a stream whose claims hold.
pub(crate) fn open(input: &Input, columns: Option<Vec<usize>>) -> Result<(SchemaRef, Batches)> {
    fault::guard(WHAT, || {
        let mut magic = [0; 6];
        let mut reader = input.reader(0);
        reader.read_exact(&mut magic).map_err(|e| fault::decompress(WHAT, e))?;
        reader.rewind().map_err(|e| fault::decompress(WHAT, e))?;
        if magic == *ARROW_FILE_MAGIC {
            check_file(input)?;
            let mut builder = FileReaderBuilder::new();
            if let Some(columns) = columns {
                builder = builder.with_projection(columns);
            }
            let reader = builder.build(BufReader::new(reader)).map_err(fault::arrow)?;
            return Ok((reader.schema(), Box::new(reader) as Batches));
        }
        check_stream(input)?;
        let full =
            StreamReader::try_new(BufReader::new(input.reader(0)), None).map_err(fault::arrow)?.schema();
        let reader = StreamReader::try_new(BufReader::new(reader), columns).map_err(fault::arrow)?;
        Ok((full, Box::new(reader) as Batches))
    })
}

fn damaged(what: &str) -> Error {
    Error::new(Code::CorruptData, format!("Arrow data is damaged: {what}"))
}

fn check_file(input: &Input) -> Result<()> {
    let read = |pos, n| input.bytes_at(pos, n).map_err(|e| fault::decompress(WHAT, e));
    let tail_at = input.len().checked_sub(10).ok_or_else(|| damaged("too short"))?;
    let tail = read(tail_at, 10)?;
    if &tail[4..] != ARROW_FILE_MAGIC {
        return Err(damaged("the end is missing; the file is truncated"));
    }
    let length = i32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]);
    let footer_at = u64::try_from(length).ok().and_then(|l| tail_at.checked_sub(l));
    let footer_at = footer_at.ok_or_else(|| damaged("a footer that is longer than the file"))?;
    let footer = read(footer_at, (tail_at - footer_at) as usize)?;
    let footer = root_as_footer(&footer).map_err(|e| damaged(&format!("the footer: {e}")))?;
    if footer.schema().is_none() {
        return Err(damaged("no schema"));
    }
    let blocks =
        footer.dictionaries().into_iter().flatten().chain(footer.recordBatches().into_iter().flatten());
    for block in blocks {
        check_block(input, block, footer_at)?;
    }
    Ok(())
}

fn check_block(input: &Input, block: &Block, limit: u64) -> Result<()> {
    let outside = || damaged("a batch lies outside of the file");
    let at = u64::try_from(block.offset()).map_err(|_| outside())?;
    let metadata = u64::try_from(block.metaDataLength()).map_err(|_| outside())?;
    let body = u64::try_from(block.bodyLength()).map_err(|_| outside())?;
    let body_at = at.checked_add(metadata).ok_or_else(outside)?;
    if metadata < 8 || body_at.checked_add(body).is_none_or(|end| end > limit) {
        return Err(outside());
    }
    let bytes = input.bytes_at(at, metadata as usize).map_err(|e| fault::decompress(WHAT, e))?;
    let message = if bytes[..4] == [0xff; 4] { &bytes[8..] } else { &bytes[4..] };
    check_message(input, message, body_at, body).map(drop)
}

/// Checks the lengths in one message; gives that of its body.
fn check_message(input: &Input, message: &[u8], body_at: u64, room: u64) -> Result<u64> {
    let message = root_as_message(message).map_err(|e| damaged(&format!("a message: {e}")))?;
    let body = u64::try_from(message.bodyLength()).ok().filter(|b| *b <= room);
    let body = body.ok_or_else(|| damaged("a message is longer than the file"))?;
    let batch = match message.header_type() {
        MessageHeader::RecordBatch => message.header_as_record_batch(),
        MessageHeader::DictionaryBatch => message.header_as_dictionary_batch().and_then(|d| d.data()),
        _ => None,
    };
    let Some(batch) = batch else { return Ok(body) };
    for buffer in batch.buffers().into_iter().flatten() {
        let (at, length) = (u64::try_from(buffer.offset()), u64::try_from(buffer.length()));
        let (Ok(at), Ok(length)) = (at, length) else { return Err(damaged("a negative length")) };
        if at.checked_add(length).is_none_or(|end| end > body) {
            return Err(damaged("a buffer lies outside of its message"));
        }
        if batch.compression().is_some() && length >= 8 {
            let prefix = input.bytes_at(body_at + at, 8).map_err(|e| fault::decompress(WHAT, e))?;
            let plain = i64::from_le_bytes(prefix[..].try_into().unwrap_or_default());
            if !(-1..=MAX_BUFFER).contains(&plain) {
                return Err(damaged("a buffer of impossible size"));
            }
        }
    }
    Ok(body)
}

fn check_stream(input: &Input) -> Result<()> {
    let mut reader: BufReader<InputReader> = BufReader::new(input.reader(0));
    let mut pos = 0;
    let fail = |e| fault::decompress(WHAT, e);
    while pos < input.len() {
        let mut word = [0; 4];
        reader.seek(SeekFrom::Start(pos)).map_err(fail)?;
        reader.read_exact(&mut word).map_err(fail)?;
        pos += 4;
        if word == [0xff; 4] {
            reader.read_exact(&mut word).map_err(fail)?;
            pos += 4;
        }
        let length = u64::try_from(i32::from_le_bytes(word)).map_err(|_| damaged("a negative length"))?;
        if length == 0 {
            return Ok(());
        }
        let room = input.len().checked_sub(pos + length).ok_or_else(|| {
            damaged("a message is longer than the file; it is truncated or no Arrow stream")
        })?;
        let message = input.bytes_at(pos, length as usize).map_err(fail)?;
        pos += length;
        pos += check_message(input, &message, pos, room)?;
    }
    Ok(())
}
