//! From a batch of documents to a batch of scores.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use gristmill_core::{Code, Counts, Error, Result};
use gristmill_data::{DocBatch, Quarantined};
use gristmill_select::Reason;
use serde::{Deserialize, Serialize};

use super::extremes::Extremes;
use super::summary::Tally;
use crate::memory::{LossModel, Scratch};
use crate::sidecar::SidecarBuilder;
use crate::{Cutoffs, Method, ScoreSpec, Sums};

/// The name of the column with the values of the quota column.
pub(crate) const GROUP: &str = "group";

/// What was read and scored: a state that merges.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) tally: Tally,
    pub(crate) damaged: u64,
    pub(crate) extremes: Extremes,
}

impl Report {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.tally.merge(&other.tally);
        self.damaged += other.damaged;
        self.extremes.merge(&other.extremes);
    }
}

/// Everything that it takes to score a document.
pub(crate) struct Scorer {
    pub(crate) spec: ScoreSpec,
    losses: Box<dyn LossModel>,
}

/// A scored batch.
pub(crate) struct Piece {
    pub(crate) batch: RecordBatch,
    pub(crate) report: Report,
    pub(crate) quarantined: Vec<Quarantined>,
}

impl Scorer {
    /// A scorer of whole documents.
    pub(crate) fn new(method: Method, losses: Box<dyn LossModel>) -> Result<Self> {
        let normalizer = losses.normalizer().cloned().ok_or_else(|| {
            Error::invalid_argument("normalizer", "the model file does not say how text becomes words").hint(
                "name it: whitespace/1 for text that is split already, a tokenizer file for CCNet's models",
            )
        })?;
        let spec = ScoreSpec { normalizer: Some(normalizer), ..ScoreSpec::of(method) };
        Self::with_spec(spec, losses)
    }

    /// A scorer by this specification.
    pub(crate) fn with_spec(spec: ScoreSpec, losses: Box<dyn LossModel>) -> Result<Self> {
        spec.validate()?;
        losses.supports(&spec)?;
        Ok(Self { spec, losses })
    }

    /// The same with a column for the part of the pool that a score falls into.
    pub(crate) fn with_cutoffs(mut self, cutoffs: Option<Cutoffs>) -> Result<Self> {
        self.spec.cutoffs = cutoffs;
        self.spec.validate()?;
        Ok(self)
    }

    /// What is known of every text of a batch, in turn.
    fn sums(&self, batch: &DocBatch, scratch: &mut Scratch) -> Result<Vec<Sums>> {
        let present = || (0..batch.len()).filter_map(|i| Some((i, batch.text(i)?)));
        let texts: Vec<_> = present().map(|(_, text)| text).collect();
        let mut sums = Vec::with_capacity(texts.len());
        self.losses.texts(&self.spec, &texts, scratch, &mut sums).map_err(|e| {
            match present().nth(sums.len()) {
                Some((i, _)) => e.at_row(batch.rows[i]),
                None => e,
            }
        })?;
        for (sums, (i, text)) in sums.iter_mut().zip(present()) {
            sums.n_bytes = u32::try_from(text.len()).map_err(|_| {
                Error::new(Code::Unsupported, "a document of more than 4 GiB").at_row(batch.rows[i])
            })?;
        }
        Ok(sums)
    }

    /// Scores a batch. `schema` is that of [`sidecar_schema`].
    pub(crate) fn piece(&self, schema: &SchemaRef, batch: DocBatch, scratch: &mut Scratch) -> Result<Piece> {
        let plain = match &batch.group {
            None => schema.clone(),
            Some(_) => Arc::new(without_last(schema)),
        };
        let mut rows = SidecarBuilder::new(&self.spec, plain);
        let mut report = Report::default();
        let Report { tally, extremes, .. } = &mut report;
        let mut all_sums = self.sums(&batch, scratch)?.into_iter();
        for (i, &row) in batch.rows.iter().enumerate() {
            let id = batch.ids.value(i);
            let scored = batch.text(i).and_then(|text| Some((text, all_sums.next()?)));
            let Some((text, sums)) = scored else {
                rows.push(id, row, &Sums::default());
                continue;
            };
            let score = rows.push(id, row, &sums);
            let counts = Counts::one(sums.n_tokens.into(), sums.n_bytes.into());
            tally.read += counts;
            if sums.n_tokens == 0 {
                tally.drop(Reason::EmptyText, counts);
            } else if score.is_nan() {
                tally.drop(Reason::NotANumber, counts);
            } else {
                tally.scored += counts;
                extremes.offer(score, shard_number(batch.shard)?, row, id, text);
            }
        }
        let mut scores = rows.finish()?;
        if let Some(group) = batch.group {
            let mut columns = scores.columns().to_vec();
            columns.push(Arc::new(group) as ArrayRef);
            scores = RecordBatch::try_new(schema.clone(), columns)
                .map_err(|e| Error::new(Code::Internal, format!("the groups do not fit the scores: {e}")))?;
        }
        Ok(Piece { batch: scores, report, quarantined: batch.quarantined })
    }
}

/// Shards are numbered in 32 bits wherever documents are ordered.
pub(crate) fn shard_number(shard: usize) -> Result<u32> {
    u32::try_from(shard).map_err(|_| Error::new(Code::Unsupported, "more than 2^32 shards"))
}

/// The schema of a score file: the columns of the specification, and the group when there are quotas.
pub(crate) fn sidecar_schema(
    spec: &ScoreSpec,
    models: &serde_json::Value,
    input: &serde_json::Value,
    group: bool,
) -> SchemaRef {
    let schema = crate::sidecar::schema(spec, models, input);
    if !group {
        return schema;
    }
    let mut fields = schema.fields().to_vec();
    fields.push(Arc::new(Field::new(GROUP, DataType::Utf8, true)));
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn without_last(schema: &SchemaRef) -> Schema {
    let fields = schema.fields();
    Schema::new_with_metadata(fields[..fields.len() - 1].to_vec(), schema.metadata().clone())
}
