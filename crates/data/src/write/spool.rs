//! Lines of JSON on their way into a table whose schema the last of them decides.

use std::io::{Seek, Write};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_ipc::CompressionType;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use gristmill_core::{Code, Error, Result};
use tempfile::SpooledTempFile;

use super::{TableWriter, beside};
use crate::fault;
use crate::json_table::Inference;

/// What is held in memory before a temporary file is made.
const IN_MEMORY: usize = 32 << 20;

pub(super) struct Spool {
    path: String,
    inference: Inference,
    store: Option<StreamWriter<SpooledTempFile>>,
}

impl Spool {
    pub(super) fn new(path: &str) -> Self {
        Self { path: path.into(), inference: Inference::default(), store: None }
    }

    fn fail(&self, e: arrow_schema::ArrowError) -> Error {
        fault::encode(&format!("{} (temporary copy)", self.path), e)
    }

    pub(super) fn push(&mut self, lines: &StringArray, extra: &[(FieldRef, ArrayRef)]) -> Result<()> {
        for line in lines.iter().flatten() {
            self.inference.observe(line)?;
        }
        let field = Arc::new(Field::new("", DataType::Utf8, false));
        let fields = std::iter::once(field).chain(extra.iter().map(|(f, _)| f.clone())).collect::<Vec<_>>();
        let lines: ArrayRef = Arc::new(lines.clone());
        let columns = std::iter::once(lines).chain(extra.iter().map(|(_, a)| a.clone())).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(fault::arrow)?;
        if self.store.is_none() {
            let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME));
            let options = options.map_err(|e| self.fail(e))?;
            let file = SpooledTempFile::new(IN_MEMORY);
            let writer = StreamWriter::try_new_with_options(file, &batch.schema(), options);
            self.store = Some(writer.map_err(|e| self.fail(e))?);
        }
        let written = self.store.as_mut().map_or(Ok(()), |s| s.write(&batch));
        written.map_err(|e| self.fail(e))
    }

    pub(super) fn finish<W: Write + Send>(self, mut table: TableWriter<W>) -> Result<W> {
        let path = format!("{} (temporary copy)", self.path);
        let decoder = self.inference.finish();
        let Some(store) = self.store else { return table.finish() };
        let mut file = store.into_inner().map_err(|e| fault::encode(&path, e))?;
        file.rewind().map_err(|e| fault::write(&path, e))?;
        let reader = StreamReader::try_new(std::io::BufReader::new(file), None).map_err(fault::arrow)?;
        let ours = reader.schema();
        for batch in reader {
            let batch = batch.map_err(fault::arrow)?;
            let lines = batch.column(0).as_string_opt::<i32>();
            let lines = lines.ok_or_else(|| Error::new(Code::Internal, "the spool lost its lines"))?;
            let columns = decoder.decode(lines)?;
            let extra = ours.fields().iter().cloned().zip(batch.columns().iter().cloned()).skip(1);
            table.write(&beside(&columns, &extra.collect::<Vec<_>>())?)?;
        }
        table.finish()
    }
}
