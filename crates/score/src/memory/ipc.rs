//! The same from Arrow IPC bytes to Arrow IPC bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use gristmill_core::{Code, Control, Error, Result};

use super::MemoryScorer;

impl MemoryScorer {
    /// Scores every batch of an Arrow IPC file or stream and gives a stream of as many batches. Errors name
    /// the batch as their row group, and the row within it.
    ///
    /// The bytes are not trusted: arrays are validated, and what the bytes claim is checked before it is
    /// allocated.
    pub fn score_ipc(&self, bytes: Vec<u8>, control: &Control) -> Result<Vec<u8>> {
        // The readers and kernels under this are ours and Arrow's; should one of them panic over a table
        // that nobody thought of, that is the end of this call and not of the process.
        catch_unwind(AssertUnwindSafe(|| self.score_stream(bytes, control))).unwrap_or_else(|_| {
            Err(Error::new(Code::Internal, "scoring this table failed in an unforeseen way"))
        })
    }

    fn score_stream(&self, bytes: Vec<u8>, control: &Control) -> Result<Vec<u8>> {
        let failed =
            |e: ArrowError| Error::new(Code::Internal, format!("cannot write the scores as Arrow: {e}"));
        let batches = gristmill_data::read_ipc(bytes)?;
        let schema = self.schema(batches.schema())?;
        let mut writer = StreamWriter::try_new(Vec::new(), &schema).map_err(failed)?;
        for (index, batch) in batches.enumerate() {
            control.check()?;
            let scored = self.score(&batch?, control).map_err(|e| e.at_row_group(index as u64))?;
            writer.write(&scored).map_err(failed)?;
        }
        writer.into_inner().map_err(failed)
    }
}
