//! The tokens of documents, kept between runs: a second model or a second run does not make them again.
//!
//! One Parquet file per input file and tokenizer, `TOKENIZER/NAME-INPUT.tokens.parquet` below the cache's folder, where
//! `TOKENIZER` is of the tokenizer's fingerprint and `INPUT` of where the file is and how it is read. Columns: `id` (the
//! document's key), `row` (in the input file, ascending), `tokens` (`list<int32>`) and `check`.
//!
//! Nothing in it is believed: `check` is a hash of the tokenizer's fingerprint, the document's text as it was just read
//! and the tokens. A document whose row is missing, or whose hash is another (the text changed, the file is damaged, it
//! is of another tokenizer), is tokenised as if there were no cache, and then the whole file is written anew and takes
//! the old one's place at once.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::builder::{Int32Builder, ListBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use gristmill_core::{Code, Error, Result};
use gristmill_data::{Corpus, DocBatch, Shard, SidecarWriter, Tables, read_tables};
use gristmill_lm::Tokenizer;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

/// The folder beside a job's output, where no other is named.
const FOLDER: &str = "gristmill-tokens";

/// Where tokens of documents are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TokenCache {
    /// Whether at all: in the folder `gristmill-tokens` beside the output.
    Beside(bool),
    /// In this folder.
    At(String),
}

/// What a job had of the cache. Texts are counted once per tokenizer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokensKept {
    /// The cache's folder.
    pub folder: String,
    /// Texts whose tokens were read from there.
    pub read: u64,
    /// Texts that were tokenised.
    pub tokenised: u64,
}

impl TokenCache {
    /// The folder, if there is to be one.
    fn folder(&self, output: &str) -> Result<Option<PathBuf>> {
        match self {
            TokenCache::Beside(false) => Ok(None),
            TokenCache::At(path) if path.is_empty() || path.contains("://") => {
                let what = format!("{path:?} is no folder of this machine");
                Err(Error::invalid_argument("tokenCache", what))
            }
            TokenCache::At(path) => Ok(Some(path.into())),
            TokenCache::Beside(true) if output.contains("://") => {
                let what = "the output is in a store, and tokens are kept on this machine: name a folder";
                Err(Error::invalid_argument("tokenCache", what))
            }
            TokenCache::Beside(true) => {
                let output = std::path::absolute(output).map_err(|e| Error::io(output, "find", e))?;
                Ok(Some(output.parent().unwrap_or(&output).join(FOLDER)))
            }
        }
    }
}

/// The cache of a job.
pub(crate) struct Kept {
    folder: PathBuf,
    read: AtomicU64,
    tokenised: AtomicU64,
}

impl Kept {
    /// As the options say, for a job whose models have these tokenizers.
    pub(crate) fn open(cache: Option<&TokenCache>, output: &str, tokenizers: usize) -> Result<Option<Self>> {
        let Some(folder) = cache.map(|cache| cache.folder(output)).transpose()?.flatten() else {
            return Ok(None);
        };
        if tokenizers == 0 {
            return Err(Error::invalid_argument("tokenCache", "is of transformers, and no model is one"));
        }
        Ok(Some(Self { folder, read: AtomicU64::new(0), tokenised: AtomicU64::new(0) }))
    }

    /// What it was good for.
    pub(crate) fn report(&self) -> TokensKept {
        TokensKept {
            folder: self.folder.display().to_string(),
            read: self.read.load(Ordering::Relaxed),
            tokenised: self.tokenised.load(Ordering::Relaxed),
        }
    }

    /// The files of a shard, one for each tokenizer.
    pub(crate) fn shard<'a>(
        &'a self,
        corpus: &Corpus,
        shard: &Shard,
        tokenizers: &[&'a Tokenizer],
    ) -> Vec<ShardTokens<'a>> {
        let source = corpus.source();
        let place = match shard.url.contains("://") {
            true => shard.url.clone(),
            false => std::path::absolute(&shard.url).unwrap_or_default().display().to_string(),
        };
        let input = json!({
            "place": place, "format": source.format, "text": source.text, "lines": source.lines,
        });
        let open = |tokenizer: &&'a Tokenizer| {
            let print = print_of(tokenizer);
            let name =
                format!("{}-{}.tokens.parquet", shard.name, short(&sha256(input.to_string().as_bytes())));
            let path = self.folder.join(short(&print)).join(name);
            ShardTokens::open(self, tokenizer, path, print)
        };
        tokenizers.iter().map(open).collect()
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The first 64 bits of a hash in hexadecimal.
fn short(hash: &[u8; 32]) -> String {
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn print_of(tokenizer: &Tokenizer) -> [u8; 32] {
    sha256(format!("{} {}", tokenizer.name(), tokenizer.fingerprint()).as_bytes())
}

/// The file of one shard under one tokenizer: what is there already, and what will take its place.
pub(crate) struct ShardTokens<'a> {
    kept: &'a Kept,
    tokenizer: &'a Tokenizer,
    print: [u8; 32],
    path: PathBuf,
    there: Option<Rows>,
}

/// Tokens of a batch's documents that have a text.
pub(crate) struct Found<'a> {
    kept: &'a Kept,
    tokenizer: &'a Tokenizer,
    print: [u8; 32],
    /// What the file has for each, not believed yet.
    rows: Vec<Option<Row>>,
}

/// Tokens of a batch's documents, each as a row of the file.
pub(crate) struct Made {
    pub(crate) tokens: Vec<Vec<u32>>,
    /// What proves each.
    checks: Vec<u64>,
    /// How many the file did not have.
    new: usize,
}

struct Row {
    row: u64,
    tokens: Vec<u32>,
    check: u64,
}

impl<'a> ShardTokens<'a> {
    fn open(kept: &'a Kept, tokenizer: &'a Tokenizer, path: PathBuf, print: [u8; 32]) -> Self {
        // A file that cannot be read is one that is not there: it will be replaced.
        let there = path.is_file().then(|| Rows::open(&path)).flatten();
        Self { kept, tokenizer, print, path, there }
    }

    /// Where what takes the file's place is written.
    pub(crate) fn writer(&self) -> Result<TokensWriter> {
        TokensWriter::create(&self.path)
    }

    /// What the file has for the documents of a batch. Batches come in the order of their rows.
    pub(crate) fn find(&mut self, batch: &DocBatch) -> Found<'a> {
        let present = (0..batch.len()).filter(|&i| batch.text(i).is_some());
        let there = &mut self.there;
        let mut next = |i: usize| there.as_mut().and_then(|rows| rows.find(batch.rows[i]));
        let rows = present.map(&mut next).collect();
        Found { kept: self.kept, tokenizer: self.tokenizer, print: self.print, rows }
    }
}

impl Found<'_> {
    /// Tokens of all of these texts, of these rows: those that are proven to be theirs, and new ones for the others.
    fn complete(self, texts: &[&str], rows: &[u64]) -> Result<Made> {
        let mut tokens: Vec<Vec<u32>> = Vec::with_capacity(texts.len());
        let mut checks = Vec::with_capacity(texts.len());
        let mut missing = Vec::new();
        for (i, (row, text)) in self.rows.into_iter().zip(texts).enumerate() {
            let proven = row.filter(|row| row.check == check(&self.print, text, &row.tokens));
            if proven.is_none() {
                missing.push(i);
            }
            let (ids, check) = proven.map_or_else(Default::default, |row| (row.tokens, row.check));
            tokens.push(ids);
            checks.push(check);
        }
        let encode = |&i: &usize| self.tokenizer.encode(texts[i]).map_err(|e| e.at_row(rows[i]));
        let encoded: Vec<_> = missing.par_iter().map(encode).collect();
        for (&i, ids) in missing.iter().zip(encoded) {
            let ids = ids?;
            checks[i] = check(&self.print, texts[i], &ids);
            tokens[i] = ids;
        }
        let new = missing.len();
        self.kept.tokenised.fetch_add(new as u64, Ordering::Relaxed);
        self.kept.read.fetch_add((texts.len() - new) as u64, Ordering::Relaxed);
        Ok(Made { tokens, checks, new })
    }
}

/// Tokens of a batch under every tokenizer, and which documents they are of.
pub(crate) struct Tokenised {
    ids: StringArray,
    rows: Vec<u64>,
    made: Vec<Made>,
}

impl Tokenised {
    /// Tokens of the batch's texts, where they are kept at all.
    pub(crate) fn of(batch: &DocBatch, found: Vec<Found>) -> Result<Option<Self>> {
        if found.is_empty() {
            return Ok(None);
        }
        let present = || (0..batch.len()).filter_map(|i| Some((i, batch.text(i)?)));
        let texts: Vec<&str> = present().map(|(_, text)| text).collect();
        let rows: Vec<u64> = present().map(|(i, _)| batch.rows[i]).collect();
        let made = found.into_iter().map(|found| found.complete(&texts, &rows));
        let made = made.collect::<Result<_>>()?;
        let ids = present().map(|(i, _)| Some(batch.ids.value(i))).collect();
        Ok(Some(Self { ids, rows, made }))
    }

    /// By tokenizer.
    pub(crate) fn made(&self) -> &[Made] {
        &self.made
    }

    /// Writes them, each to the file of its tokenizer.
    pub(crate) fn write(self, files: &mut [TokensWriter]) -> Result<()> {
        let Self { ids, rows, made } = self;
        made.iter().zip(files).try_for_each(|(made, file)| file.write(ids.clone(), rows.clone(), made))
    }
}

/// What proves that these are the tokens of this text.
fn check(print: &[u8; 32], text: &str, tokens: &[u32]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(print);
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text);
    tokens.iter().for_each(|id| hash.update(id.to_le_bytes()));
    let hash: [u8; 32] = hash.finalize().into();
    u64::from_le_bytes(*hash.first_chunk().unwrap_or(&[0; 8]))
}

/// The rows of a file as far as it can be read.
struct Rows {
    tables: Tables,
    batch: Vec<Row>,
}

impl Rows {
    fn open(path: &Path) -> Option<Self> {
        let tables = read_tables(path.to_str()?).ok()?;
        let same =
            |(a, b): (&Arc<Field>, &Arc<Field>)| a.name() == b.name() && a.data_type() == b.data_type();
        let (found, wanted) = (tables.schema().fields().clone(), schema().fields().clone());
        let fits = found.len() == wanted.len() && found.iter().zip(&wanted).all(same);
        fits.then_some(Self { tables, batch: Vec::new() })
    }

    /// The row of this number, if the file has it; what is before it is passed over.
    fn find(&mut self, row: u64) -> Option<Row> {
        loop {
            while let Some(last) = self.batch.last() {
                match last.row.cmp(&row) {
                    std::cmp::Ordering::Less => drop(self.batch.pop()),
                    std::cmp::Ordering::Equal => return self.batch.pop(),
                    std::cmp::Ordering::Greater => return None,
                }
            }
            // An error ends the tables, and then no further row is found.
            self.batch = rows_of(&self.tables.next()?.ok()?);
            self.batch.reverse();
        }
    }
}

/// The rows of a batch; those with a null are none.
fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    let rows = batch.column(1).as_primitive::<UInt64Type>();
    let tokens = batch.column(2).as_list::<i32>();
    let checks = batch.column(3).as_primitive::<UInt64Type>();
    let whole = |i: &usize| [rows.is_valid(*i), tokens.is_valid(*i), checks.is_valid(*i)] == [true; 3];
    let row = |i: usize| {
        let ids = tokens.value(i);
        let ids = ids.as_primitive::<Int32Type>().values().iter().map(|&id| id as u32);
        Row { row: rows.value(i), tokens: ids.collect(), check: checks.value(i) }
    };
    (0..batch.num_rows()).filter(whole).map(row).collect()
}

fn schema() -> SchemaRef {
    let item = Arc::new(Field::new_list_field(DataType::Int32, true));
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("row", DataType::UInt64, false),
        Field::new("tokens", DataType::List(item), false),
        Field::new("check", DataType::UInt64, false),
    ]))
}

/// A file under construction: it takes its place when it is finished, if anything in it is new.
pub(crate) struct TokensWriter {
    path: PathBuf,
    temporary: PathBuf,
    table: Option<SidecarWriter<BufWriter<File>>>,
    new: usize,
}

impl TokensWriter {
    fn create(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!("{name}.{}.tmp", std::process::id()));
        let io = |e| Error::io(temporary.display().to_string(), "write", e);
        fs::create_dir_all(path.parent().unwrap_or(path)).map_err(io)?;
        let file = BufWriter::new(File::create(&temporary).map_err(io)?);
        let text = temporary.display().to_string();
        let table = SidecarWriter::create(file, &text, &schema(), &Default::default())?;
        Ok(Self { path: path.to_owned(), temporary, table: Some(table), new: 0 })
    }

    /// Appends the documents of a batch that have a text.
    pub(crate) fn write(&mut self, ids: StringArray, rows: Vec<u64>, made: &Made) -> Result<()> {
        let mut tokens = ListBuilder::new(Int32Builder::new());
        for ids in &made.tokens {
            tokens.append_value(ids.iter().map(|&id| Some(id as i32)));
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(ids),
            Arc::new(UInt64Array::from(rows)),
            Arc::new(tokens.finish()),
            Arc::new(UInt64Array::from(made.checks.clone())),
        ];
        let batch = RecordBatch::try_new(schema(), columns)
            .map_err(|e| Error::new(Code::Internal, format!("tokens do not make a table: {e}")))?;
        self.new += made.new;
        self.table.as_mut().map_or(Ok(()), |table| table.write(&batch))
    }

    /// Ends the file.
    pub(crate) fn finish(mut self) -> Result<()> {
        let Some(table) = self.table.take().filter(|_| self.new > 0) else { return Ok(()) };
        let io = |e| Error::io(self.path.display().to_string(), "write", e);
        let file = table.finish()?.into_inner().map_err(|e| io(e.into_error()))?;
        file.sync_all().map_err(io)?;
        fs::rename(&self.temporary, &self.path).map_err(io)
    }
}

impl Drop for TokensWriter {
    /// Removes what did not take its place.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.temporary);
    }
}
