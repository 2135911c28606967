//! The step that scores shards: one score file and one commit record for each.

use arrow_schema::SchemaRef;
use gristmill_core::{Code, Control, Error, Result, Unit};
use gristmill_data::{Corpus, DocBatch, Job, JobFile, Shard, SidecarWriter};
use serde_json::json;

use super::columns::Groups;
use super::identity::{describe, read_state, write_state};
use super::input::count_unread;
use super::pipeline::{Lane, Meter, each_shard, ordered};
use super::scorer::{Piece, Report, Scorer, sidecar_schema};
use super::summary::{ModelUsed, ShardCounts};
use super::tokens::{Found, Kept, ShardTokens, Tokenised, TokensWriter};
use crate::memory::Scratch;

/// The step of the commit records.
pub(crate) const STEP: &str = "score";

/// The name of a shard's score file below the directory that holds all of them.
pub(crate) fn sidecar_name(folder: &str, shard: &Shard) -> String {
    sidecar_of(folder, &shard.name)
}

/// The same, for the name of a shard.
pub(crate) fn sidecar_of(folder: &str, shard: &str) -> String {
    format!("{folder}{shard}.scores.parquet")
}

/// All that the step needs.
pub(crate) struct Scoring<'a> {
    pub(crate) job: &'a Job,
    pub(crate) corpus: &'a Corpus,
    pub(crate) scorer: &'a Scorer,
    /// The columns of the quotas, whose values are kept beside the scores.
    pub(crate) groups: &'a Groups,
    pub(crate) models: &'a [ModelUsed],
    /// Where score files go: empty, or a directory with its slash.
    pub(crate) folder: &'a str,
    /// Where tokens of documents are kept.
    pub(crate) kept: Option<&'a Kept>,
    pub(crate) threads: usize,
    pub(crate) control: &'a Control,
}

impl Scoring<'_> {
    /// Scores this worker's shards that are not committed yet; returns how many those were.
    pub(crate) fn run(&self) -> Result<u64> {
        let mut todo = Vec::new();
        for shard in (0..self.corpus.shards().len()).filter(|&s| self.job.worker().takes(s)) {
            if self.job.commit_of(STEP, shard)?.is_none() {
                todo.push(shard);
            }
        }
        let bytes = todo.iter().map(|&s| self.corpus.shards()[s].bytes).sum();
        let meter = Meter::start(self.control, STEP, Unit::Bytes, Some(bytes));
        each_shard(&todo, self.threads, self.control, |shard, lane| self.shard(shard, lane, &meter))?;
        meter.finish();
        Ok(todo.len() as u64)
    }

    fn shard(&self, index: usize, lane: Lane<'_>, meter: &Meter<'_>) -> Result<()> {
        let shard = &self.corpus.shards()[index];
        let schema = self.schema(shard);
        let reads = self.groups.reads(self.scorer.reads());
        let mut reader = self.corpus.read(index, reads, self.control)?;
        let file = self.job.temp_writer(&sidecar_name(self.folder, shard))?;
        let path = file.path().to_owned();
        let metadata = schema.metadata().iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        let mut writer = SidecarWriter::create(file, &path, &schema, &metadata)?;
        let mut aside =
            Aside { job: self.job, name: format!("_quarantine/{}.jsonl", shard.name), file: None };
        let mut report = Report::default();
        let mut rows = 0;
        let kept = self.kept.map(|kept| kept.shard(self.corpus, shard, &self.scorer.tokenizers()));
        let mut kept = kept.unwrap_or_default();
        let mut keeping = kept.iter().map(ShardTokens::writer).collect::<Result<Vec<_>>>()?;
        // What is kept of a batch is read as the batch is.
        let items = reader.by_ref().map(|batch| {
            batch.map(|batch| {
                let found: Vec<Found> = kept.iter_mut().map(|tokens| tokens.find(&batch)).collect();
                (batch, found)
            })
        });
        let work = |scratch: &mut Scratch, (mut batch, found): (DocBatch, Vec<Found>)| {
            self.groups.apply(&mut batch)?;
            let tokens = Tokenised::of(&batch, found)?;
            let piece = self.scorer.piece(&schema, batch, tokens.as_ref().map(Tokenised::made), scratch)?;
            Ok((piece, tokens))
        };
        ordered(items, lane, Scratch::default, work, |(piece, tokens): (Piece, Option<Tokenised>)| {
            writer.write(&piece.batch)?;
            tokens.map_or(Ok(()), |tokens| tokens.write(&mut keeping))?;
            aside.write(&piece)?;
            rows += piece.batch.num_rows() as u64;
            meter.add(0, piece.batch.num_rows() as u64, piece.report.tally.read.tokens);
            report.merge(&piece.report);
            Ok(())
        })
        .map_err(|e| e.at_path(&shard.url))?;
        let stats = reader.stats();
        count_unread(&mut report.tally, &stats);
        report.damaged = stats.damaged;
        if stats.delivered != rows || stats.read != report.tally.read.documents {
            let message = format!("{stats:?} were read, but {rows} rows and {:?} counted", report.tally);
            return Err(Error::new(Code::Internal, message).at_path(&shard.url));
        }
        report.tally.check()?;
        keeping.into_iter().try_for_each(TokensWriter::finish)?;
        let mut files = vec![writer.finish()?.finish()?];
        files.extend(aside.file.map(JobFile::finish).transpose()?);
        self.job.commit(STEP, index, files, write_state(&report)?)?;
        meter.add(shard.bytes, 0, 0);
        Ok(())
    }

    fn schema(&self, shard: &Shard) -> SchemaRef {
        let input = json!({
            "name": shard.name,
            "fingerprint": shard.fingerprint,
            "where": self.corpus.source().filter,
        });
        sidecar_schema(&self.scorer.spec, &describe(self.models), &input, self.groups.any())
    }
}

/// The quarantine file of one shard, created with its first record.
struct Aside<'a> {
    job: &'a Job,
    name: String,
    file: Option<JobFile>,
}

impl Aside<'_> {
    fn write(&mut self, piece: &Piece) -> Result<()> {
        for record in &piece.quarantined {
            let file = match &mut self.file {
                Some(file) => file,
                none => none.insert(self.job.temp_writer(&self.name)?),
            };
            record.write_to(file)?;
        }
        Ok(())
    }
}

/// What all shards together gave, and how many of them there are.
pub(crate) fn collect(job: &Job, shards: usize, done: u64) -> Result<(Report, ShardCounts)> {
    let mut report = Report::default();
    let mut counts = ShardCounts { total: shards as u64, done, ..ShardCounts::default() };
    for shard in 0..shards {
        match job.commit_of(STEP, shard)? {
            None => counts.pending += 1,
            Some(commit) => report.merge(&read_state(job, commit.state)?),
        }
    }
    counts.resumed = counts.total - counts.pending - done;
    report.tally.check()?;
    Ok((report, counts))
}
