//! The step that writes what was selected: every input column, and the scores beside them.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Field, FieldRef};
use gristmill_core::{Code, Error, Result, Unit};
use gristmill_data::{Finished, Job, OutputFormat, ReadOptions, ShardWriter};
use gristmill_select::{Cut, Reason, Verdict};
use serde::{Deserialize, Serialize};

use super::identity::{read_state, write_state};
use super::pipeline::{Lane, Meter, each_shard};
use super::scorefiles::{Excluded, ScoreFiles, is_in};
use super::summary::Tally;
use crate::sidecar::score_fields;

/// The step of the commit records.
pub(crate) const STEP: &str = "select";

/// What was selected from a shard.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Selected {
    /// `kept`, and `dropped` for reasons that suppose a score; `read` and `scored` are counted elsewhere.
    pub(crate) tally: Tally,
    /// The lowest and the highest score that was kept.
    pub(crate) span: Option<(f64, f64)>,
}

impl Selected {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.tally.merge(&other.tally);
        for score in other.span.into_iter().flat_map(|(low, high)| [low, high]) {
            self.widen(score);
        }
    }

    fn widen(&mut self, score: f64) {
        self.span = Some(self.span.map_or((score, score), |(low, high)| (low.min(score), high.max(score))));
    }
}

/// All that the step needs.
pub(crate) struct Writing<'a> {
    /// The job that is written to, which need not be the one that scored.
    pub(crate) job: &'a Job,
    pub(crate) files: &'a ScoreFiles<'a>,
    pub(crate) cut: &'a Cut,
    pub(crate) excluded: &'a Excluded,
    pub(crate) format: Option<OutputFormat>,
    /// What is put before the names of our columns.
    pub(crate) prefix: &'a str,
}

impl Writing<'_> {
    /// Writes every shard that is not written yet.
    pub(crate) fn run(&self) -> Result<Selected> {
        let mut todo = Vec::new();
        for shard in self.files.shards() {
            if self.job.commit_of(STEP, shard)?.is_none() {
                todo.push(shard);
            }
        }
        let shards = &self.files.pool.shards();
        let bytes = todo.iter().map(|&s| shards[s].bytes).sum();
        let meter = Meter::start(self.files.control, "write", Unit::Bytes, Some(bytes));
        each_shard(&todo, self.files.threads, self.files.control, |shard, lane| {
            self.shard(shard, lane, &meter)?;
            meter.add(shards[shard].bytes, 0, 0);
            Ok(())
        })?;
        meter.finish();
        let mut all = Selected::default();
        let commits = self.job.complete(STEP, shards.len())?;
        for commit in commits.ok_or_else(|| Error::new(Code::Internal, "a shard was not written"))? {
            all.merge(&read_state(self.job, commit.state)?);
        }
        Ok(all)
    }

    fn shard(&self, index: usize, lane: Lane<'_>, meter: &Meter<'_>) -> Result<()> {
        let (rows, selected) = self.choose(index, lane)?;
        let files = match rows.is_empty() {
            true => Vec::new(),
            false => vec![self.copy(index, rows, lane, meter)?],
        };
        self.job.commit(STEP, index, files, write_state(&selected)?)?;
        Ok(())
    }

    /// The rows of a shard that are kept, and an account of all that have a score.
    fn choose(&self, index: usize, lane: Lane<'_>) -> Result<(Vec<u64>, Selected)> {
        let mut rows = Vec::new();
        let mut selected = Selected::default();
        // Present though nothing be kept: the tally is that of a selection.
        selected.tally.keep(Default::default());
        let excluded = &self.excluded[index];
        self.files.each(index, lane, |e| {
            let item = &e.item;
            if item.counts.tokens == 0 || item.score.is_nan() {
                return Ok(());
            }
            let verdict = match is_in(excluded, item.row) {
                true => Verdict::Dropped(Reason::DuplicateId),
                false => self.cut.verdict(item),
            };
            selected.tally.settle(verdict, item.counts);
            if verdict == Verdict::Kept {
                rows.push(item.row);
                selected.widen(item.score);
            }
            Ok(())
        })?;
        Ok((rows, selected))
    }

    fn copy(&self, index: usize, rows: Vec<u64>, lane: Lane<'_>, meter: &Meter<'_>) -> Result<Finished> {
        let pool = self.files.pool;
        let shard = &pool.shards()[index];
        let format = self.format.unwrap_or_else(|| shard.output_format());
        let file = self.job.temp_writer(&shard.output_name(format))?;
        let path = file.path().to_owned();
        let mut writer = ShardWriter::create(file, &path, format)?;
        let mut cursor = self.files.cursor(index)?;
        let expected = rows.len() as u64;
        for batch in pool.read(index, ReadOptions::rows(rows), self.files.control)? {
            lane.check()?;
            let batch = batch?;
            if batch.is_empty() {
                continue;
            }
            let scores = cursor.take(&batch.rows)?;
            writer.write(&batch, &self.columns(&scores)?)?;
            meter.add(0, batch.len() as u64, 0);
        }
        if writer.rows() != expected {
            let message = format!("{expected} documents were selected, but {} are there now", writer.rows());
            return Err(Error::new(Code::JobMismatch, message)
                .at_path(&shard.url)
                .hint("did the input change?"));
        }
        writer.finish()?.finish()
    }

    /// Our columns, as they are added to those of the input.
    fn columns(&self, scores: &RecordBatch) -> Result<Vec<(FieldRef, ArrayRef)>> {
        added_fields(self.files.spec, self.prefix)
            .into_iter()
            .map(|(name, field)| {
                let column = scores.column_by_name(&name).ok_or_else(|| {
                    Error::new(Code::MissingColumn, "the score file has no such column").at_column(&name)
                })?;
                Ok((field, column.clone()))
            })
            .collect()
    }
}

/// The fields that a selection adds, after the names that they have in score files.
pub(crate) fn added_fields(spec: &crate::ScoreSpec, prefix: &str) -> Vec<(String, FieldRef)> {
    let renamed = |field: Field| {
        let name = field.name().clone();
        let field = field.with_name(format!("{prefix}{name}"));
        (name, Arc::new(field))
    };
    score_fields(spec).into_iter().map(renamed).collect()
}
