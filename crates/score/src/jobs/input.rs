//! Opening corpora and reading them from end to end.

use std::collections::VecDeque;
use std::fs::File;

use gristmill_core::{Code, Control, Counts, Error, Result};
use gristmill_data::{Corpus, DocBatch, Format, OnError, ReadOptions, ReadStats, ShardReader, Source};
use gristmill_select::{Reason, Tally};
use sha2::{Digest, Sha256};

use super::options::SourceOptions;

/// Finds the files of a source; `group` is the column of the quotas.
pub(crate) fn open(
    options: &SourceOptions,
    option: &str,
    group: Option<&str>,
    on_error: OnError,
    control: &Control,
) -> Result<Corpus> {
    open_by(options, option, group, on_error, None, control)
}

/// The same, read so many documents at a time.
pub(crate) fn open_by(
    options: &SourceOptions,
    option: &str,
    group: Option<&str>,
    on_error: OnError,
    together: Option<usize>,
    control: &Control,
) -> Result<Corpus> {
    if options.paths.is_empty() {
        return Err(Error::invalid_argument(option, "no path is given"));
    }
    let source = Source {
        inputs: options.paths.clone(),
        format: options.format.as_deref().map(Format::parse).transpose()?,
        text: options.text.clone(),
        id: options.id.clone(),
        group: group.map(str::to_owned),
        filter: options.filter.clone(),
        lines: options.lines,
        on_error,
        ..Source::default()
    };
    let source = Source { batch_rows: together.unwrap_or(source.batch_rows), ..source };
    let corpus = Corpus::open(source, control)?;
    if corpus.shards().is_empty() {
        return Err(
            Error::new(Code::NotFound, format!("no file matches {:?}", options.paths)).at_column(option)
        );
    }
    Ok(corpus)
}

/// Adds the documents that a reader met and did not hand on, or whose text is null, to a tally of the others.
pub(crate) fn count_unread(tally: &mut Tally, stats: &ReadStats) {
    for (reason, documents) in [
        (Reason::Filtered, stats.filtered),
        (Reason::Quarantined, stats.quarantined),
        (Reason::NullText, stats.null_text),
    ] {
        let counts = Counts { documents, ..Counts::default() };
        tally.read += counts;
        tally.drop(reason, counts);
    }
}

/// SHA-256 of a file, in hexadecimal.
pub(crate) fn sha256_of(path: &str) -> Result<String> {
    let mut hash = Sha256::new();
    let mut file = File::open(path).map_err(|e| Error::io(path, "read", e))?;
    std::io::copy(&mut file, &mut hash).map_err(|e| Error::io(path, "read", e))?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// All batches of several shards, one shard after the other. The next shard is opened while one is read.
pub(crate) struct Chain<'a> {
    corpus: &'a Corpus,
    control: &'a Control,
    waiting: VecDeque<usize>,
    open: VecDeque<ShardReader>,
    stats: ReadStats,
}

impl<'a> Chain<'a> {
    pub(crate) fn new(
        corpus: &'a Corpus,
        shards: impl IntoIterator<Item = usize>,
        control: &'a Control,
    ) -> Self {
        let waiting = shards.into_iter().collect();
        Self { corpus, control, waiting, open: VecDeque::new(), stats: ReadStats::default() }
    }

    /// What became of the rows of all shards; complete once the iterator has ended.
    pub(crate) fn stats(&self) -> ReadStats {
        self.stats
    }

    fn fill(&mut self) -> Result<()> {
        while self.open.len() < 2 {
            let Some(shard) = self.waiting.pop_front() else { break };
            self.open.push_back(self.corpus.read(shard, ReadOptions::default(), self.control)?);
        }
        Ok(())
    }
}

impl Iterator for Chain<'_> {
    type Item = Result<DocBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Err(e) = self.fill() {
                return Some(Err(e));
            }
            let reader = self.open.front_mut()?;
            match reader.next() {
                Some(batch) => return Some(batch),
                None => {
                    self.stats += reader.stats();
                    self.open.pop_front();
                }
            }
        }
    }
}
