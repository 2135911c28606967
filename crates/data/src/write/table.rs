//! Tables out: Parquet and Arrow IPC.

use std::io::{BufWriter, Write};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_cast::cast::cast;
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use gristmill_core::{Code, Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use crate::fault;
use crate::format::OutputFormat;

/// A row group is written when it has grown to this: it is held in memory until then.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// Writes record batches of one schema.
pub(crate) struct TableWriter<W: Write + Send> {
    path: String,
    metadata: Vec<(String, String)>,
    state: State<W>,
}

enum State<W: Write + Send> {
    Waiting(W, OutputFormat),
    Parquet(Box<ArrowWriter<W>>, SchemaRef),
    Arrow(Box<FileWriter<BufWriter<W>>>, SchemaRef),
    Broken,
}

impl<W: Write + Send> TableWriter<W> {
    pub(crate) fn new(dest: W, path: &str, format: OutputFormat) -> Self {
        Self { path: path.into(), metadata: Vec::new(), state: State::Waiting(dest, format) }
    }

    /// Adds key-value metadata to the footer. Before the first batch.
    pub(crate) fn with_metadata(mut self, metadata: impl IntoIterator<Item = (String, String)>) -> Self {
        self.metadata.extend(metadata);
        self
    }

    pub(crate) fn start(&mut self, schema: &SchemaRef) -> Result<()> {
        let State::Waiting(dest, format) = std::mem::replace(&mut self.state, State::Broken) else {
            return Err(Error::new(Code::Internal, "the table was started already").at_path(&self.path));
        };
        self.state = match format {
            OutputFormat::Arrow => {
                let flat = Arc::new(unpacked(schema));
                let options = IpcWriteOptions::default()
                    .try_with_compression(Some(CompressionType::ZSTD))
                    .map_err(|e| fault::encode(&self.path, e))?;
                let dest = BufWriter::with_capacity(256 << 10, dest);
                let mut writer = FileWriter::try_new_with_options(dest, &flat, options)
                    .map_err(|e| fault::encode(&self.path, e))?;
                self.metadata.drain(..).for_each(|(k, v)| writer.write_metadata(k, v));
                State::Arrow(Box::new(writer), flat)
            }
            _ => {
                let metadata: Vec<_> = self.metadata.drain(..).map(|(k, v)| KeyValue::new(k, v)).collect();
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_created_by(concat!("gristmill ", env!("CARGO_PKG_VERSION")).into())
                    .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
                    .set_key_value_metadata((!metadata.is_empty()).then_some(metadata))
                    .build();
                let writer = ArrowWriter::try_new(dest, schema.clone(), Some(properties))
                    .map_err(|e| fault::encode(&self.path, e))?;
                State::Parquet(Box::new(writer), schema.clone())
            }
        };
        Ok(())
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if matches!(self.state, State::Waiting(..)) {
            self.start(&batch.schema())?;
        }
        match &mut self.state {
            State::Parquet(writer, schema) => {
                let batch = conform(batch, schema)?;
                writer.write(&batch).map_err(|e| fault::encode(&self.path, e))
            }
            State::Arrow(writer, schema) => {
                let batch = conform(batch, schema)?;
                writer.write(&batch).map_err(|e| fault::encode(&self.path, e))
            }
            _ => Err(Error::new(Code::Internal, "the table was given up after an error").at_path(&self.path)),
        }
    }

    pub(crate) fn finish(mut self) -> Result<W> {
        if matches!(self.state, State::Waiting(..)) {
            self.start(&Arc::new(Schema::empty()))?;
        }
        match self.state {
            State::Parquet(writer, _) => writer.into_inner().map_err(|e| fault::encode(&self.path, e)),
            State::Arrow(mut writer, _) => {
                writer.finish().map_err(|e| fault::encode(&self.path, e))?;
                let buffered = writer.into_inner().map_err(|e| fault::encode(&self.path, e))?;
                buffered.into_inner().map_err(|e| fault::write(&self.path, e.into_error()))
            }
            _ => Err(Error::new(Code::Internal, "the table was given up after an error").at_path(&self.path)),
        }
    }
}

/// An Arrow file holds one dictionary per column, and batches come with one each: plain values instead.
fn unpacked(schema: &Schema) -> Schema {
    let plain = |f: &Field| match f.data_type() {
        DataType::Dictionary(_, value) => f.clone().with_data_type(value.as_ref().clone()),
        _ => f.clone(),
    };
    let fields: Vec<_> = schema.fields().iter().map(|f| plain(f)).collect();
    Schema::new_with_metadata(fields, schema.metadata().clone())
}

/// The batch with the types of the table.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    let names = |s: &Schema| s.fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
    if names(batch.schema_ref()) != names(schema) {
        return Err(Error::new(Code::Internal, "the batches of one table differ in their columns"));
    }
    let columns = batch.columns().iter().zip(schema.fields()).map(|(c, f)| cast(c, f.data_type()));
    let columns = columns.collect::<Result<Vec<_>, _>>().map_err(fault::arrow)?;
    RecordBatch::try_new(schema.clone(), columns).map_err(fault::arrow)
}
