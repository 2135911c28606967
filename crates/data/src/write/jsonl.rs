//! JSON lines out.

use std::io::{self, BufWriter, Write};

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_json::WriterBuilder;
use arrow_json::writer::LineDelimited;
use arrow_schema::{FieldRef, Schema};
use flate2::GzBuilder;
use flate2::write::GzEncoder;
use gristmill_core::Result;

use crate::fault;
use crate::format::Compression;

/// Zstandard's own default; what people have come to expect of a `.zst`.
const ZSTD_LEVEL: i32 = 3;

pub(super) struct JsonlWriter<W: Write> {
    out: Encoder<W>,
    path: String,
    buffer: Vec<u8>,
}

enum Encoder<W: Write> {
    Plain(BufWriter<W>),
    Gzip(GzEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(w) => w.write_all(bytes),
            Self::Gzip(w) => w.write_all(bytes),
            Self::Zstd(w) => w.write_all(bytes),
        }
    }
}

impl<W: Write> JsonlWriter<W> {
    pub(super) fn new(dest: W, compression: Compression, path: &str) -> Result<Self> {
        let out = match compression {
            Compression::None => Encoder::Plain(BufWriter::with_capacity(256 << 10, dest)),
            // A header without time and without operating system: the same bytes everywhere.
            Compression::Gzip => Encoder::Gzip(
                GzBuilder::new().mtime(0).operating_system(255).write(dest, flate2::Compression::default()),
            ),
            Compression::Zstd => {
                let mut encoder =
                    zstd::stream::write::Encoder::new(dest, ZSTD_LEVEL).map_err(|e| fault::write(path, e))?;
                encoder.include_checksum(true).map_err(|e| fault::write(path, e))?;
                Encoder::Zstd(encoder)
            }
        };
        Ok(Self { out, path: path.into(), buffer: Vec::new() })
    }

    /// Writes lines as they are, with the values of further columns as their last members.
    pub(super) fn append(&mut self, lines: &StringArray, extra: &[(FieldRef, ArrayRef)]) -> Result<()> {
        let members = members(extra)?;
        let mut members = members.split(|b| *b == b'\n');
        self.buffer.clear();
        for i in 0..lines.len() {
            let line = lines.value(i).trim_ascii_end();
            let ours = members.next().unwrap_or_default();
            // `{"score":1}` without its opening brace, or nothing where there is no further column.
            match ours.get(1..).filter(|_| !extra.is_empty()) {
                None => self.buffer.extend_from_slice(line.as_bytes()),
                Some(ours) => {
                    let body = line.strip_suffix('}').unwrap_or(line);
                    self.buffer.extend_from_slice(body.as_bytes());
                    if !is_empty_object(body) {
                        self.buffer.push(b',');
                    }
                    self.buffer.extend_from_slice(ours);
                }
            }
            self.buffer.push(b'\n');
        }
        self.flush_buffer()
    }

    /// Writes rows of a table. Every column is there in every line, null or not.
    pub(super) fn encode(&mut self, batch: &RecordBatch) -> Result<()> {
        self.buffer = encode(batch)?;
        self.flush_buffer()
    }

    fn flush_buffer(&mut self) -> Result<()> {
        self.out.write_all(&self.buffer).map_err(|e| fault::write(&self.path, e))
    }

    pub(super) fn finish(self) -> Result<W> {
        let dest = match self.out {
            Encoder::Plain(w) => w.into_inner().map_err(|e| e.into_error()),
            Encoder::Gzip(w) => w.finish(),
            Encoder::Zstd(w) => w.finish(),
        };
        dest.map_err(|e| fault::write(&self.path, e))
    }
}

/// Whether what stands before the closing brace is only the opening one.
fn is_empty_object(body: &str) -> bool {
    body.trim_ascii() == "{"
}

fn members(extra: &[(FieldRef, ArrayRef)]) -> Result<Vec<u8>> {
    if extra.is_empty() {
        return Ok(Vec::new());
    }
    let schema = Schema::new(extra.iter().map(|(f, _)| f.clone()).collect::<Vec<_>>());
    let columns = extra.iter().map(|(_, a)| a.clone()).collect();
    encode(&RecordBatch::try_new(schema.into(), columns).map_err(fault::arrow)?)
}

fn encode(batch: &RecordBatch) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut out);
    writer.write(batch).and_then(|()| writer.finish()).map_err(fault::arrow)?;
    Ok(out)
}
