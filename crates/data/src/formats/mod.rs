//! The formats: each reads the shard of a [`Task`](crate::reader::Task) and delivers batches.

pub(crate) mod arrow;
pub(crate) mod jsonl;
pub(crate) mod parquet;
pub(crate) mod table;
pub(crate) mod text;

use gristmill_core::{Result, ResultExt};

use crate::format::Compression;
use crate::place::Input;
use crate::reader::Out;
use crate::stream::{BoxRead, ReadAhead, decompressed};

/// Opens the shard; from here on a failing device is no bad input any more.
pub(crate) fn open(out: &mut Out) -> Result<Input> {
    let input = Input::open(&out.task.shard.place)?;
    out.opened = true;
    Ok(input)
}

/// Opens the shard as a stream of uncompressed bytes, read ahead where that is work.
pub(crate) fn open_stream(out: &mut Out) -> Result<BoxRead> {
    let input = open(out)?;
    let compression = out.task.shard.compression;
    let plain = decompressed(Box::new(input.reader(0)), compression)?;
    if compression == Compression::None && !input.is_remote() {
        return Ok(plain);
    }
    let ahead = ReadAhead::new(plain).map_err(|e| gristmill_core::Error::io("", "start a thread to read", e));
    Ok(Box::new(ahead.at_path(&out.task.shard.url)?))
}
