//! What a user asks to be read, and the shards that it turns out to be.

use gristmill_core::{Control, Error, Result};

use crate::discover;
use crate::filter::Filter;
use crate::format::{Compression, Format, OutputFormat};
use crate::place::Place;
use crate::reader::{ReadOptions, ShardReader};

/// What to do with rows and files that cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// Stop with a typed error that says where.
    #[default]
    Fail,
    /// Put them aside as [`Quarantined`](crate::Quarantined) records, count them and go on.
    Quarantine,
}

/// What to read and how.
#[derive(Debug, Clone)]
pub struct Source {
    /// Paths, directories, globs and object-store URLs.
    pub inputs: Vec<String>,
    /// The format of every input; recognised file by file when not given.
    pub format: Option<Format>,
    /// The column that holds the text; detected when not given.
    pub text: Option<String>,
    /// The column that holds the id; detected when not given.
    pub id: Option<String>,
    /// A column whose values group the documents, for quotas.
    pub group: Option<String>,
    /// A row filter in the Common Expression Language over the columns.
    pub filter: Option<String>,
    /// Plain text holds one document a line, not one a file.
    pub lines: bool,
    /// What to do with what cannot be read.
    pub on_error: OnError,
    /// Documents in one batch, at most.
    pub batch_rows: usize,
    /// Bytes of text after which a batch is full; a single document may be larger.
    pub batch_bytes: usize,
    /// A document (for line formats: a line) of more bytes than this is bad input.
    pub max_document_bytes: usize,
}

impl Default for Source {
    fn default() -> Self {
        Self {
            inputs: Vec::new(),
            format: None,
            text: None,
            id: None,
            group: None,
            filter: None,
            lines: false,
            on_error: OnError::Fail,
            batch_rows: 256,
            batch_bytes: 4 << 20,
            max_document_bytes: 1 << 30,
        }
    }
}

impl Source {
    /// These inputs with every choice left to its default.
    pub fn new(inputs: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { inputs: inputs.into_iter().map(Into::into).collect(), ..Self::default() }
    }
}

/// One input file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Its position in [`Corpus::shards`], which is the order of the URLs.
    pub index: usize,
    /// The path or URL to read it from.
    pub url: String,
    /// A relative name without extension, unique in the corpus (also where case does not count): the
    /// stem of every file that is made from this shard.
    pub name: String,
    /// How documents are stored in it.
    pub format: Format,
    /// How its bytes are compressed as a whole.
    pub compression: Compression,
    /// Its size as stored.
    pub bytes: u64,
    /// Changes when the file does. Local: size, time of last change, XXH3 of its first and last 16 KiB.
    /// Object store: size and entity tag (time of last change where the store gives none).
    pub fingerprint: String,
    pub(crate) place: Place,
}

impl Shard {
    /// The name of the output that belongs to this shard, in this format.
    pub fn output_name(&self, format: OutputFormat) -> String {
        format!("{}.{}", self.name, format.extension())
    }

    /// The output format that keeps this shard's own; plain text becomes JSONL.
    pub fn output_format(&self) -> OutputFormat {
        OutputFormat::like(self.format, self.compression)
    }
}

/// A set of shards, ready to be read in any order and by many threads.
#[derive(Debug)]
pub struct Corpus {
    source: Source,
    filter: Option<Filter>,
    shards: Vec<Shard>,
}

impl Corpus {
    /// Finds the inputs and checks the request; reads no document.
    pub fn open(source: Source, control: &Control) -> Result<Self> {
        if source.batch_rows == 0 || source.batch_bytes == 0 || source.max_document_bytes == 0 {
            return Err(Error::invalid_argument("batch", "batch sizes must be positive"));
        }
        // One batch must stay within the 32-bit offsets of an Arrow string column.
        if source.max_document_bytes.saturating_add(source.batch_bytes) > i32::MAX as usize {
            return Err(Error::invalid_argument("maxDocumentBytes", "documents are limited to 2 GiB"));
        }
        let filter = source.filter.as_deref().map(Filter::parse).transpose()?;
        let shards = discover::discover(&source, control)?;
        Ok(Self { source, filter, shards })
    }

    /// The request.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The files, sorted by URL.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Bytes of all files as stored.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|s| s.bytes).sum()
    }

    /// Starts to read one shard on a thread of its own.
    ///
    /// # Panics
    /// When there is no shard of this index.
    pub fn read(&self, shard: usize, options: ReadOptions, control: &Control) -> Result<ShardReader> {
        ShardReader::start(&self.source, self.filter.clone(), &self.shards[shard], options, control)
    }
}
