//! The order to train in: where each selected document is, easy to hard within the mixture of the groups.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::builder::{Float64Builder, StringBuilder, UInt32Builder, UInt64Builder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use gristmill_core::{Code, Error, Result};
use gristmill_data::{Job, OutputFormat, SidecarWriter};
use gristmill_mix::{Curriculum, CurriculumItem, CurriculumOptions as Sorting};
use gristmill_select::{Cut, Verdict};

use super::identity::{read_state, write_state};
use super::options::CurriculumOptions;
use super::pipeline::Lane;
use super::scorefiles::{Excluded, ScoreFiles, is_in};
use super::scorer::shard_number;
use super::summary::CurriculumReport;

/// The step of the commit record.
const STEP: &str = "order";
/// The file of the order. A name that begins with an underscore is no part of the selection.
const FILE: &str = "_curriculum.parquet";
/// Rows of a batch.
const BATCH: usize = 8192;

/// All that the step needs.
pub(crate) struct Ordering<'a> {
    pub(crate) job: &'a Job,
    pub(crate) files: &'a ScoreFiles<'a>,
    pub(crate) cut: &'a Cut,
    pub(crate) excluded: &'a Excluded,
    pub(crate) format: Option<OutputFormat>,
    pub(crate) asked: CurriculumOptions,
    /// Whether a low score is a good one, which says nothing about the order: `ascending` is by the number.
    pub(crate) lowest: bool,
    pub(crate) seed: u64,
    pub(crate) memory: usize,
}

impl Ordering<'_> {
    /// Writes the order, unless it is written.
    pub(crate) fn run(&self) -> Result<CurriculumReport> {
        if let Some(commit) = self.job.commit_of(STEP, 0)? {
            return read_state(self.job, commit.state);
        }
        let mut curriculum = Curriculum::new(Sorting {
            direction: self.asked.direction,
            temperature: self.asked.temperature,
            seed: self.seed,
            memory: Some(self.memory),
            temp_dir: None,
        })?;
        let mut topics: BTreeMap<String, u32> = BTreeMap::new();
        let mut names = Vec::new();
        let mut documents = 0;
        for shard in self.files.shards() {
            let mut row = 0;
            let lane = Lane::whole(1, self.files.control);
            self.files.each(shard, lane, |e| {
                let item = &e.item;
                let kept = item.counts.tokens > 0
                    && !item.score.is_nan()
                    && !is_in(&self.excluded[shard], item.row)
                    && self.cut.verdict(item) == Verdict::Kept;
                if !kept {
                    return Ok(());
                }
                let name = item.group.unwrap_or_default();
                let topic = match topics.get(name) {
                    Some(topic) => *topic,
                    None => {
                        let topic = shard_number(topics.len())?;
                        topics.insert(name.to_owned(), topic);
                        names.push(item.group.map(str::to_owned));
                        topic
                    }
                };
                curriculum.push(CurriculumItem {
                    shard: item.shard,
                    row,
                    score: item.score,
                    tokens: item.counts.tokens,
                    topic,
                    id_hash: item.id_hash,
                })?;
                row += 1;
                documents += 1;
                Ok(())
            })?;
        }
        let outputs: Vec<String> = self
            .files
            .pool
            .shards()
            .iter()
            .map(|shard| shard.output_name(self.format.unwrap_or_else(|| shard.output_format())))
            .collect();
        let file = self.write(curriculum, &outputs, &names)?;
        let report = CurriculumReport { file: FILE.into(), documents, topics: topics.len().max(1) as u64 };
        self.job.commit(STEP, 0, vec![file], write_state(&report)?)?;
        Ok(report)
    }

    fn write(
        &self,
        curriculum: Curriculum,
        outputs: &[String],
        topics: &[Option<String>],
    ) -> Result<gristmill_data::Finished> {
        let schema = Arc::new(Schema::new(vec![
            Field::new("file", DataType::Utf8, false),
            Field::new("row", DataType::UInt64, false),
            Field::new("topic", DataType::Utf8, true),
            Field::new("n_tokens", DataType::UInt32, false),
            Field::new("score", DataType::Float64, false),
        ]));
        let file = self.job.temp_writer(FILE)?;
        let path = file.path().to_owned();
        let keep = if self.lowest { "lowest" } else { "highest" };
        let metadata = [("gristmill.format", "curriculum/1"), ("gristmill.keep", keep)]
            .map(|(k, v)| (k.to_owned(), v.to_owned()));
        let mut writer = SidecarWriter::create(file, &path, &schema, &metadata.into())?;
        let mut columns = Columns::default();
        curriculum.finish(self.files.control, |item| {
            columns.push(item, outputs, topics)?;
            if columns.rows < BATCH { Ok(()) } else { writer.write(&columns.finish(&schema)?) }
        })?;
        writer.write(&columns.finish(&schema)?)?;
        writer.finish()?.finish()
    }
}

#[derive(Default)]
struct Columns {
    rows: usize,
    file: StringBuilder,
    row: UInt64Builder,
    topic: StringBuilder,
    n_tokens: UInt32Builder,
    score: Float64Builder,
}

impl Columns {
    fn push(&mut self, item: &CurriculumItem, outputs: &[String], topics: &[Option<String>]) -> Result<()> {
        let lost = || Error::new(Code::Internal, "a document of no shard or topic");
        self.file.append_value(outputs.get(item.shard as usize).ok_or_else(lost)?);
        self.row.append_value(item.row);
        self.topic.append_option(topics.get(item.topic as usize).ok_or_else(lost)?.as_deref());
        self.n_tokens.append_value(u32::try_from(item.tokens).unwrap_or(u32::MAX));
        self.score.append_value(item.score);
        self.rows += 1;
        Ok(())
    }

    fn finish(&mut self, schema: &Arc<Schema>) -> Result<RecordBatch> {
        self.rows = 0;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.file.finish()),
            Arc::new(self.row.finish()),
            Arc::new(self.topic.finish()),
            Arc::new(self.n_tokens.finish()),
            Arc::new(self.score.finish()),
        ];
        RecordBatch::try_new(schema.clone(), columns)
            .map_err(|e| Error::new(Code::Internal, format!("the order does not fit its schema: {e}")))
    }
}
