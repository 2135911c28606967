//! Files to read, and reading them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use gristmill_core::{Control, Error, Result};
use gristmill_data::{Corpus, DocBatch, OnError, Quarantined, ReadOptions, ReadStats, Source};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use tempfile::TempDir;

pub(crate) fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(crate) fn put(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

pub(crate) fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut w = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    w.write_all(bytes.as_ref()).unwrap();
    w.finish().unwrap()
}

pub(crate) fn zstd(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    zstd::stream::encode_all(bytes.as_ref(), 1).unwrap()
}

/// `n` lines with an id, a text that says which it is, a language and a score.
pub(crate) fn lines(n: usize) -> String {
    let line = |i: usize| {
        let lang = if i.is_multiple_of(3) { "de" } else { "en" };
        format!(
            "{{\"id\":\"doc-{i}\",\"text\":\"document number {i}, caf\u{e9}\",\"lang\":\"{lang}\",\"score\":{}.5}}\n",
            i % 10
        )
    };
    (0..n).map(line).collect()
}

/// The same documents as [`lines`] as a table.
pub(crate) fn table(n: usize) -> RecordBatch {
    let strings =
        |f: &dyn Fn(usize) -> String| Arc::new(StringArray::from_iter_values((0..n).map(f))) as ArrayRef;
    let lang = |i: usize| if i.is_multiple_of(3) { "de".to_string() } else { "en".to_string() };
    let score = arrow_array::Float64Array::from_iter_values((0..n).map(|i| (i % 10) as f64 + 0.5));
    RecordBatch::try_from_iter([
        ("id", strings(&|i| format!("doc-{i}"))),
        ("text", strings(&|i| format!("document number {i}, caf\u{e9}"))),
        ("lang", strings(&lang)),
        ("score", Arc::new(score) as ArrayRef),
    ])
    .unwrap()
}

pub(crate) fn parquet_with(batch: &RecordBatch, properties: WriterPropertiesBuilder) -> Vec<u8> {
    let mut w = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties.build())).unwrap();
    w.write(batch).unwrap();
    w.into_inner().unwrap()
}

pub(crate) fn parquet(batch: &RecordBatch) -> Vec<u8> {
    parquet_with(batch, WriterProperties::builder())
}

/// Row groups of this many rows, pages of ten.
pub(crate) fn parquet_groups(batch: &RecordBatch, rows: usize) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(rows))
        .set_data_page_row_count_limit(10)
        .set_write_batch_size(10)
        .set_dictionary_enabled(false);
    parquet_with(batch, properties)
}

pub(crate) fn arrow_file(batches: &[RecordBatch]) -> Vec<u8> {
    let mut w = arrow_ipc::writer::FileWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|b| w.write(b).unwrap());
    w.into_inner().unwrap()
}

pub(crate) fn arrow_stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut w = arrow_ipc::writer::StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|b| w.write(b).unwrap());
    w.into_inner().unwrap()
}

pub(crate) fn source(path: impl AsRef<Path>) -> Source {
    Source::new([path.as_ref().to_str().unwrap()])
}

pub(crate) fn quarantine(path: impl AsRef<Path>) -> Source {
    Source { on_error: OnError::Quarantine, ..source(path) }
}

pub(crate) fn open(source: Source) -> Corpus {
    Corpus::open(source, &Control::default()).unwrap()
}

/// Everything that a corpus delivers.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Got {
    pub(crate) rows: Vec<(usize, u64)>,
    pub(crate) ids: Vec<String>,
    pub(crate) texts: Vec<Option<String>>,
    pub(crate) groups: Vec<Option<String>>,
    pub(crate) aside: Vec<Quarantined>,
    pub(crate) stats: ReadStats,
}

impl Got {
    pub(crate) fn texts(&self) -> Vec<&str> {
        self.texts.iter().map(|t| t.as_deref().unwrap_or("<null>")).collect()
    }
}

pub(crate) fn batches(
    corpus: &Corpus,
    shard: usize,
    options: ReadOptions,
) -> Result<(Vec<DocBatch>, ReadStats)> {
    let mut reader = corpus.read(shard, options, &Control::default())?;
    let batches = reader.by_ref().collect::<Result<Vec<_>>>()?;
    let stats = reader.stats();
    Ok((batches, stats))
}

pub(crate) fn read_with(source: Source, options: ReadOptions) -> Result<Got> {
    let corpus = Corpus::open(source, &Control::default())?;
    let mut got = Got::default();
    for shard in 0..corpus.shards().len() {
        let (batches, stats) = batches(&corpus, shard, options.clone())?;
        got.stats += stats;
        for b in batches {
            got.rows.extend(b.rows.iter().map(|r| (b.shard, *r)));
            got.ids.extend(b.ids.iter().map(|i| i.unwrap().to_string()));
            got.texts.extend(b.text.iter().map(|t| t.map(str::to_string)));
            got.groups.extend(b.group.iter().flatten().map(|g| g.map(str::to_string)));
            got.aside.extend(b.quarantined);
        }
    }
    let s = got.stats;
    assert_eq!(s.read, s.delivered + s.filtered + s.quarantined, "the counts must add up: {s:?}");
    assert_eq!(s.delivered as usize, got.texts.len());
    let rows: u64 = got.aside.iter().filter_map(|q| q.rows).sum();
    assert_eq!(s.quarantined, rows, "every row put aside has a record");
    assert_eq!(s.damaged as usize, got.aside.iter().filter(|q| q.rows != Some(1)).count());
    Ok(got)
}

pub(crate) fn read(source: Source) -> Result<Got> {
    read_with(source, ReadOptions::default())
}

/// The error that reading ends with.
pub(crate) fn failure(source: Source) -> Error {
    match read(source) {
        Ok(got) => panic!("read {} documents without an error", got.texts.len()),
        Err(e) => e,
    }
}
