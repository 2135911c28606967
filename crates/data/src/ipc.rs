//! Arrow IPC bytes that are in memory, as other languages hand tables over.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use gristmill_core::Result;

use crate::fault;
use crate::formats::arrow::{Batches, WHAT, open};
use crate::place::Input;

/// The batches of an Arrow IPC file or stream in memory. Errors name the batch as their row group.
pub struct IpcBatches {
    schema: SchemaRef,
    /// `None` after the end or an error.
    batches: Option<Batches>,
    index: u64,
}

/// Opens Arrow IPC bytes, file or stream. They are not trusted: what they claim is checked against their
/// length before anything is allocated, arrays are validated, and damage is
/// [`Code::CorruptData`](gristmill_core::Code::CorruptData).
///
/// ```
/// let hostile = b"ARROW1\0\0 and nothing that follows from it ARROW1";
/// let e = gristmill_data::read_ipc(&hostile[..]).err().unwrap();
/// assert_eq!(e.code(), gristmill_core::Code::CorruptData);
/// ```
pub fn read_ipc(bytes: impl Into<Bytes>) -> Result<IpcBatches> {
    let (schema, batches) = open(&Input::of_bytes(bytes.into()), None)?;
    Ok(IpcBatches { schema, batches: Some(batches), index: 0 })
}

impl IpcBatches {
    /// The schema of every batch.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

impl Iterator for IpcBatches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        // Taken out while it runs: after a panic nobody uses it again.
        let mut batches = self.batches.take()?;
        let index = self.index;
        match fault::guard(WHAT, || Ok((batches.next().transpose().map_err(fault::arrow)?, batches))) {
            Ok((None, _)) => None,
            Ok((Some(batch), batches)) => {
                self.batches = Some(batches);
                self.index += 1;
                Some(Ok(batch))
            }
            Err(e) => Some(Err(e.at_row_group(index))),
        }
    }
}
