//! Tables read back: any output as record batches, and score sidecars with their metadata.

use std::collections::BTreeMap;
use std::io::Write;

use arrow_array::{RecordBatch, StringArray};
use arrow_schema::SchemaRef;
use gristmill_core::{Code, Control, Error, Result};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use crate::discover::discover;
use crate::fault;
use crate::format::{self, Compression, Format, NameHint, OutputFormat};
use crate::formats::arrow;
use crate::formats::parquet::Table;
use crate::json_table::{Inference, JsonDecoder};
use crate::place::{Input, Place};
use crate::source::Source;
use crate::stream::{BoxRead, Line, Lines, decompressed};
use crate::write::TableWriter;

/// Rows in one batch of a table that holds numbers.
const BATCH_ROWS: usize = 8192;
/// Lines in one batch, and bytes after which it is full.
const BATCH_LINES: usize = 1024;
const BATCH_BYTES: usize = 8 << 20;
const MAX_LINE: usize = 1 << 30;

/// The record batches of one file.
pub struct Tables {
    path: String,
    schema: SchemaRef,
    batches: Batches,
    failed: bool,
}

enum Batches {
    Parquet(Box<ParquetBatches>),
    Arrow(arrow::Batches),
    Json(JsonBatches),
}

/// One row group after the other.
struct ParquetBatches {
    table: Table,
    next: usize,
    reader: Option<ParquetRecordBatchReader>,
    batch_rows: usize,
}

struct JsonBatches {
    lines: Lines<BoxRead>,
    decoder: JsonDecoder,
}

/// Reads any file that a job writes (Parquet, Arrow IPC, JSONL; a path or URL) as record batches. For
/// JSONL the file is read twice: for its schema and for its rows.
pub fn read_tables(path: &str) -> Result<Tables> {
    open(path).map_err(|e| e.at_path(path))
}

/// Reads all that a job wrote: a file, or the data files of a directory (or glob, or prefix in a store) one
/// after the other in the order of their names. Each is opened when its turn comes.
pub fn read_all(
    path: &str,
    control: &Control,
) -> Result<impl Iterator<Item = Result<RecordBatch>> + Send + use<>> {
    let source = Source { inputs: vec![path.to_owned()], ..Source::default() };
    let files = discover(&source, control)?;
    Ok(files.into_iter().flat_map(|file| {
        let (tables, failed) = match read_tables(&file.url) {
            Ok(tables) => (Some(tables), None),
            Err(e) => (None, Some(Err(e))),
        };
        tables.into_iter().flatten().chain(failed)
    }))
}

fn open(path: &str) -> Result<Tables> {
    let place = Place::parse(path)?;
    let input = Input::open(&place)?;
    let (format, compression) = format::sniff(&input, NameHint::of(path))?;
    let (schema, batches) = match format {
        Some(Format::Parquet) => {
            let table = ParquetBatches::open(input)?;
            (table.table.schema().clone(), Batches::Parquet(Box::new(table)))
        }
        Some(Format::Arrow) => {
            let (schema, batches) = arrow::open(&input, None)?;
            (schema, Batches::Arrow(batches))
        }
        Some(Format::Jsonl) => open_json(&input, compression)?,
        _ => return Err(format::unknown_format(path)),
    };
    Ok(Tables { path: path.into(), schema, batches, failed: false })
}

impl ParquetBatches {
    fn open(input: Input) -> Result<Self> {
        let table = Table::open(input, false)?;
        let groups = (0..table.groups()).map(|g| table.group(g));
        let (rows, bytes) = groups.fold((0i64, 0i64), |(rows, bytes), g| {
            (rows.saturating_add(g.num_rows()), bytes.saturating_add(g.total_byte_size()))
        });
        // Wide rows, such as documents, come in smaller batches.
        let average = (bytes.max(0) / rows.max(1)).max(1) as usize;
        let batch_rows = (BATCH_BYTES / average).clamp(1, BATCH_ROWS);
        Ok(Self { table, next: 0, reader: None, batch_rows })
    }

    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(reader) = &mut self.reader {
                let batch = reader.next().transpose().map_err(fault::arrow_of_parquet);
                if let Some(batch) = batch.map_err(|e| e.at_row_group(self.next as u64 - 1))? {
                    return Ok(Some(batch));
                }
            }
            if self.next == self.table.groups() {
                return Ok(None);
            }
            self.reader = Some(self.table.read_group(self.next, self.batch_rows)?);
            self.next += 1;
        }
    }
}

fn open_json(input: &Input, compression: Compression) -> Result<(SchemaRef, Batches)> {
    let lines = || -> Result<_> {
        Ok(Lines::new(decompressed(Box::new(input.reader(0)), compression)?, compression, MAX_LINE))
    };
    let mut inference = Inference::default();
    let mut first = lines()?;
    while take_line(&mut first, &mut |line| inference.observe(line))? {}
    let decoder = inference.finish();
    let schema = decoder.schema().clone();
    Ok((schema, Batches::Json(JsonBatches { lines: lines()?, decoder })))
}

/// Takes the next line that is not blank; false after the last.
fn take_line(lines: &mut Lines<BoxRead>, take: &mut impl FnMut(&str) -> Result<()>) -> Result<bool> {
    loop {
        let row = lines.next_row();
        let line = match lines.next()? {
            None => return Ok(false),
            Some(Line::TooLong(n)) => {
                return Err(Error::new(Code::InvalidValue, format!("a line of {n} bytes")).at_row(row));
            }
            Some(Line::Whole(line)) => line,
        };
        if !line.iter().all(u8::is_ascii_whitespace) {
            let line = std::str::from_utf8(line);
            let line =
                line.map_err(|_| Error::new(Code::InvalidUtf8, "the line is not UTF-8").at_row(row))?;
            return take(line).map(|()| true).map_err(|e| e.at_row(row));
        }
    }
}

impl JsonBatches {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BATCH_LINES && bytes < BATCH_BYTES {
            let mut push = |line: &str| {
                bytes += line.len();
                batch.push(line.to_string());
                Ok(())
            };
            if !take_line(&mut self.lines, &mut push)? {
                break;
            }
        }
        match batch.is_empty() {
            true => Ok(None),
            false => self.decoder.decode(&StringArray::from(batch)).map(Some),
        }
    }
}

impl Tables {
    /// The columns, with the file's key-value metadata.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

impl Iterator for Tables {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let batch = match &mut self.batches {
            Batches::Parquet(table) => fault::guard("Parquet", || table.next()),
            Batches::Arrow(batches) => {
                fault::guard("Arrow", || batches.next().transpose().map_err(fault::arrow))
            }
            Batches::Json(json) => json.next(),
        };
        self.failed = !matches!(batch, Ok(Some(_)));
        batch.map_err(|e| e.at_path(&self.path)).transpose()
    }
}

/// Writes a score sidecar: a Parquet file of numbers beside an input shard, with what they mean in its
/// key-value metadata.
pub struct SidecarWriter<W: Write + Send>(TableWriter<W>);

impl<W: Write + Send> SidecarWriter<W> {
    /// Starts a sidecar of this schema; `path` names it in errors. The metadata are for example the score
    /// specification, the hash of the model and the fingerprint of the input.
    pub fn create(
        dest: W,
        path: &str,
        schema: &SchemaRef,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let pairs = metadata.iter().map(|(k, v)| (k.clone(), v.clone()));
        let mut table = TableWriter::new(dest, path, OutputFormat::Parquet).with_metadata(pairs);
        table.start(schema)?;
        Ok(Self(table))
    }

    /// Appends rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.0.write(batch)
    }

    /// Ends the file and gives back what it was written to.
    pub fn finish(self) -> Result<W> {
        self.0.finish()
    }
}

/// The key-value metadata of a table, as [`SidecarWriter`] wrote them.
pub fn read_metadata(path: &str) -> Result<BTreeMap<String, String>> {
    let tables = read_tables(path)?;
    Ok(tables.schema().metadata().iter().map(|(k, v)| (k.clone(), v.clone())).collect())
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;

    use super::*;

    #[test]
    fn a_directory_is_read_file_by_file_in_order_of_names() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, lines: &str| std::fs::write(dir.path().join(name), lines).unwrap();
        put("b.jsonl", "{\"id\": \"b0\"}\n{\"id\": \"b1\"}\n");
        put("a.jsonl", "{\"id\": \"a0\"}\n");
        std::fs::create_dir(dir.path().join("_scores")).unwrap();
        put("_scores/a.jsonl", "{\"id\": \"not a result\"}\n");
        let path = dir.path().to_str().unwrap();
        let ids: Vec<String> = read_all(path, &Control::default())
            .unwrap()
            .flat_map(|batch| {
                let batch = batch.unwrap();
                let ids = batch.column_by_name("id").unwrap().as_string::<i32>().clone();
                ids.iter().map(|id| id.unwrap().to_owned()).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(ids, ["a0", "b0", "b1"]);
        let Err(e) = read_all(dir.path().join("none").to_str().unwrap(), &Control::default()) else {
            panic!("read what is not there");
        };
        assert_eq!(e.code(), Code::NotFound);

        put("a.jsonl", "{\"id\": \n");
        let mut all = read_all(path, &Control::default()).unwrap();
        assert!(all.next().unwrap().is_err());
    }
}
