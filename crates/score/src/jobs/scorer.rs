//! From a batch of documents to a batch of scores.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use gristmill_core::{Code, Counts, Error, Result};
use gristmill_data::{DocBatch, Quarantined, ReadOptions};
use gristmill_lm::Tokenizer;
use gristmill_mix::Dense;
use gristmill_ngram::normalize::Normalizer;
use gristmill_select::Reason;
use serde::{Deserialize, Serialize};

use super::columns::{numbers, vectors};
use super::extremes::Extremes;
use super::summary::Tally;
use super::tokens::Made;
use crate::memory::{LossModel, Scratch, each};
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
    basis: Basis,
}

/// What scores are made from.
enum Basis {
    /// The text.
    Text(Box<dyn LossModel>),
    /// A number that the pool has for each document.
    Rating(Normalizer),
    /// An embedding that the pool has for each document, and the weights of its components.
    Embedding(Normalizer, Vec<f64>),
}

/// The values of a batch's column that scores follow from.
enum Values {
    None,
    Numbers(Vec<Option<f64>>),
    Vectors(Vec<Option<Vec<f32>>>),
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
        let spec = ScoreSpec { normalizer: Some(normalizer), ..losses.spec(method) };
        Self::with_spec(spec, losses)
    }

    /// A scorer by this specification.
    pub(crate) fn with_spec(spec: ScoreSpec, losses: Box<dyn LossModel>) -> Result<Self> {
        spec.validate()?;
        losses.supports(&spec)?;
        Ok(Self { spec, basis: Basis::Text(losses) })
    }

    /// The same with a column for the part of the pool that a score falls into.
    pub(crate) fn with_cutoffs(mut self, cutoffs: Option<Cutoffs>) -> Result<Self> {
        self.spec.cutoffs = cutoffs;
        self.spec.validate()?;
        Ok(self)
    }

    /// A scorer by a column of ratings: `spec` is that of `rating`.
    pub(crate) fn by_rating(spec: ScoreSpec, normalizer: Normalizer) -> Result<Self> {
        spec.validate()?;
        Ok(Self { spec, basis: Basis::Rating(normalizer) })
    }

    /// A scorer by a column of embeddings: `spec` is that of `bradley-terry` with such a column.
    pub(crate) fn by_embedding(spec: ScoreSpec, normalizer: Normalizer, weights: Vec<f64>) -> Result<Self> {
        spec.validate()?;
        Ok(Self { spec, basis: Basis::Embedding(normalizer, weights) })
    }

    /// What makes tokens of the texts, where the tokens can be kept.
    pub(crate) fn tokenizers(&self) -> Vec<&Tokenizer> {
        match &self.basis {
            Basis::Text(losses) => losses.tokenizers(),
            _ => Vec::new(),
        }
    }

    /// What must be read of the pool.
    pub(crate) fn reads(&self) -> ReadOptions {
        match self.basis {
            Basis::Text(_) => ReadOptions::default(),
            _ => ReadOptions::all(),
        }
    }

    /// What of the batch's columns scores are made from.
    fn values(&self, batch: &DocBatch) -> Result<Values> {
        let name = self.spec.column.as_deref().unwrap_or_default();
        match self.basis {
            _ if batch.is_empty() => Ok(Values::None),
            Basis::Text(_) => Ok(Values::None),
            Basis::Rating(_) => numbers(batch, name).map(Values::Numbers),
            Basis::Embedding(..) => vectors(batch, name).map(Values::Vectors),
        }
    }

    /// What is known of every document of a batch that has a text, in turn.
    /// Where `made` has their tokens, by tokenizer, none are made here.
    pub(crate) fn sums(
        &self,
        batch: &DocBatch,
        made: Option<&[Made]>,
        scratch: &mut Scratch,
    ) -> Result<Vec<Sums>> {
        let present: Vec<_> = (0..batch.len()).filter_map(|i| Some((i, batch.text(i)?))).collect();
        let sums = match &self.basis {
            Basis::Text(losses) => match made {
                Some(made) => {
                    let tokens: Vec<_> = made.iter().map(|made| made.tokens.as_slice()).collect();
                    losses.tokenised(&self.spec, &tokens)
                }
                None => {
                    let texts: Vec<_> = present.iter().map(|(_, text)| *text).collect();
                    losses.texts(&self.spec, &texts, scratch)
                }
            },
            Basis::Rating(normalizer) | Basis::Embedding(normalizer, _) => {
                let values = self.values(batch)?;
                each(&present, |&(i, text)| valued(normalizer, text, self.value(&values, i)?, scratch))
            }
        };
        let row_of = |index: u64| present.get(index as usize).map_or(index, |(i, _)| batch.rows[*i]);
        let mut sums = sums.map_err(|e| e.map_row(row_of))?;
        for (sums, (i, text)) in sums.iter_mut().zip(&present) {
            sums.n_bytes = u32::try_from(text.len()).map_err(|_| {
                Error::new(Code::Unsupported, "a document of more than 4 GiB").at_row(batch.rows[*i])
            })?;
        }
        Ok(sums)
    }

    /// The score of the document `i` of a batch with these values, where it has one.
    fn value(&self, values: &Values, i: usize) -> Result<Option<f64>> {
        match (&self.basis, values) {
            (Basis::Rating(_), Values::Numbers(numbers)) => self.within(numbers[i]),
            (Basis::Embedding(_, weights), Values::Vectors(vectors)) => {
                let rating = |row: &Vec<f32>| -> Result<f64> {
                    Dense::new(weights.len()).push(row)?;
                    Ok(row.iter().zip(weights).map(|(x, w)| f64::from(*x) * w).sum())
                };
                let column = self.spec.column.as_deref().unwrap_or_default();
                vectors[i].as_ref().map(rating).transpose().map_err(|e| e.at_column(column))
            }
            _ => Err(Error::new(Code::Internal, "a batch was read without its values")),
        }
    }

    /// A rating, unless it is outside of the range that ratings have.
    fn within(&self, rating: Option<f64>) -> Result<Option<f64>> {
        match (self.spec.range, rating) {
            (Some([least, most]), Some(rating)) if !(least..=most).contains(&rating) => {
                let message = format!("a rating of {rating}, where ratings are {least} to {most}");
                Err(Error::new(Code::InvalidValue, message)
                    .at_column(self.spec.column.as_deref().unwrap_or_default())
                    .hint("leave such documents out with --where, or leave the range out"))
            }
            _ => Ok(rating),
        }
    }

    /// Scores a batch. `schema` is that of [`sidecar_schema`].
    pub(crate) fn piece(
        &self,
        schema: &SchemaRef,
        batch: DocBatch,
        made: Option<&[Made]>,
        scratch: &mut Scratch,
    ) -> Result<Piece> {
        let plain = match &batch.group {
            None => schema.clone(),
            Some(_) => Arc::new(without_last(schema)),
        };
        let mut rows = SidecarBuilder::new(&self.spec, plain);
        let mut report = Report::default();
        let Report { tally, extremes, .. } = &mut report;
        let mut all_sums = self.sums(&batch, made, scratch)?.into_iter();
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

/// What is known of a document whose score is a value that it came with. One without the value has nothing that is
/// scored.
fn valued(normalizer: &Normalizer, text: &str, score: Option<f64>, scratch: &mut Scratch) -> Result<Sums> {
    let mut n_tokens = 0u32;
    normalizer.for_each_token(text, &mut scratch.words, |_| n_tokens = n_tokens.saturating_add(1))?;
    let n_scored = u32::from(score.is_some());
    Ok(Sums { n_tokens, n_scored, nll: [score.unwrap_or(f64::NAN), 0.0], ..Sums::default() })
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
