//! Scores for tables that are in memory: batches in, batches out.
//!
//! A [`MemoryScorer`] takes record batches with text, with token ids, or with the log-probabilities that one
//! or two models gave to every token, and adds the columns of a [`ScoreSpec`]. Rows stay where they are, so
//! the result lies beside the input row by row. [`MemoryScorer::score_ipc`] does the same from Arrow IPC bytes
//! to Arrow IPC bytes, which is how tables cross from other languages.
//!
//! Logits, and log-probabilities too if one is given, are scored on a [`Device`]:
//! [`MemoryScorer::on`].
//!
//! ```
//! use std::sync::Arc;
//! use arrow_array::{ListArray, RecordBatch, cast::AsArray, types::{Float32Type, Float64Type}};
//! use gristmill_core::Control;
//! use gristmill_score::memory::{MemoryOptions, MemoryScorer};
//!
//! // Two documents; the first token of each has no context and no probability.
//! let prior = [Some(vec![None, Some(-3.0), Some(-5.0)]), Some(vec![None, Some(-2.0)])];
//! let conditional = [Some(vec![None, Some(-2.0), Some(-4.0)]), Some(vec![None, Some(-2.5)])];
//! let list = |rows: [Option<Vec<Option<f32>>>; 2]| {
//!     Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(rows)) as _
//! };
//! let batch = RecordBatch::try_from_iter([("prior", list(prior)), ("conditional", list(conditional))])?;
//!
//! let options = MemoryOptions { log_probs: vec!["prior".into(), "conditional".into()], ..Default::default() };
//! let scored = MemoryScorer::new(options, None)?.score(&batch, &Control::default())?;
//! let score = scored.column_by_name("score").unwrap();
//! assert_eq!(score.as_primitive::<Float64Type>().values(), &[1.0, -0.5]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is an error and what is NaN
//!
//! | Input | Result |
//! |---|---|
//! | a null row; an empty text or list; a list in which nothing is scored | score NaN, `n_scored` 0 |
//! | a NaN among log-probabilities; infinite loss under both models | score NaN |
//! | a null among log-probabilities | that token counts, but is not scored |
//! | a log-probability above 0 (by more than rounding) | error with row and column |
//! | two models with other lengths or other nulls in a row | error with row and column |
//! | a null, a negative or an unknown id among token ids | error with row and column |
//! | a packed row of another length than the specification says | error with row and column |
//! | logits and targets that are not of the same tokens; a target outside the vocabulary; a null among them | error with row and column |
//! | a NaN among logits | score NaN |
//!
//! A score of NaN is never selected; the selection reports how many there were.

mod adapted;
mod device;
mod ipc;
mod linear;
mod lists;
mod models;
mod neural;
mod ngrams;
mod pack;
#[cfg(test)]
mod tests;
mod weights;

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Schema, SchemaRef};
use gristmill_core::{Code, Control, Device, Error, Result};
use gristmill_cpu::ops;
use gristmill_lm::Tokenizer;
use gristmill_ngram::normalize::NormalizerSpec;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::methods::{Method, Sums};
use crate::sidecar::{FORMAT, META_FORMAT, META_SPEC, ScoreColumns, score_fields};
use crate::spec::{Bos, Eos, ScoreSpec, Windows};
pub use linear::HashedLinear;
pub use models::{LoadedModels, ModelOptions};
pub(crate) use neural::transformer;
pub use neural::{Neural, NeuralOptions, Recipe};
pub use ngrams::Ngrams;
pub use pack::Packer;
pub use weights::HashedWeights;

use lists::{Floats, LogProbs, TokenIds, wrong_type};

/// The base of logarithms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogBase {
    /// Natural logarithms, as neural models give them.
    #[default]
    #[serde(rename = "e")]
    E,
    /// Bits.
    #[serde(rename = "2")]
    Two,
    /// As n-gram models give them.
    #[serde(rename = "10")]
    Ten,
}

impl LogBase {
    /// Nats in one unit.
    fn nats(self) -> f64 {
        match self {
            Self::E => 1.0,
            Self::Two => std::f64::consts::LN_2,
            Self::Ten => std::f64::consts::LN_10,
        }
    }
}

/// What to score, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct MemoryOptions {
    /// The score; `perplexity` of one model, `loss-reduction` of two when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// The whole specification instead of the method, when log-probabilities were made in another way than
    /// the one assumed for them: nothing before the first token, which is not scored, and nothing after the
    /// last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<ScoreSpec>,
    /// Column of text to score: utf8, large_utf8 or utf8_view, or a dictionary of one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Column of token ids to score: lists of int32 or uint32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<String>,
    /// Columns of per-token log-probabilities, one or two, in the order of the method's models: lists of
    /// float32 or float64.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log_probs: Vec<String>,
    /// The base of the log-probabilities.
    pub log_base: LogBase,
    /// Columns of logits, one or two, in the order of the method's models: for every row a list of its tokens' logits,
    /// float16 or float32, each a (fixed-size) list of its own or all of them in one. They need a device.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logits: Vec<String>,
    /// Beside logits, the column of the tokens that they predict: lists of int32 or uint32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<String>,
    /// Beside logits, how many are of words; those behind are padding. All when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocab: Option<usize>,
    /// Beside logits, the cap that the models put on them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub softcap: Option<f32>,
    /// Beside token ids or log-probabilities, the column from which bytes are counted: text, or a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
    /// Whether the input's columns stay in the result.
    pub keep_columns: bool,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            method: None,
            spec: None,
            text: None,
            tokens: None,
            log_probs: Vec::new(),
            log_base: LogBase::E,
            logits: Vec::new(),
            targets: None,
            vocab: None,
            softcap: None,
            bytes: None,
            keep_columns: true,
        }
    }
}

/// A model, or a pair of models, that gives losses to text and tokens: [`Ngrams`], [`Neural`],
/// [`Adapted`](gristmill_ngram::adapt::Adapted), [`HashedWeights`], [`HashedLinear`].
pub trait LossModel: Send + Sync {
    /// How many models: as many as the method has roles.
    fn models(&self) -> usize;

    /// How text becomes tokens.
    fn normalizer(&self) -> Option<&NormalizerSpec>;

    /// The specification of a method as this kind of model is used.
    fn spec(&self, method: Method) -> ScoreSpec {
        ScoreSpec::of(method)
    }

    /// Where it computes, if that is a device of its own and not the thread that asks.
    fn device(&self) -> Option<&Device> {
        None
    }

    /// Refuses a specification that this model cannot follow.
    fn supports(&self, spec: &ScoreSpec) -> Result<()>;

    /// The sums of one text, under the markers, windows and mask of the specification. Without any token
    /// nothing is scored, not even the end marker.
    fn text(&self, spec: &ScoreSpec, text: &str, scratch: &mut Scratch) -> Result<Sums>;

    /// The sums of many texts, as [`text`](Self::text) gives for each, appended to `sums` in turn. After an
    /// error `sums` has those of the texts before the one that failed.
    fn texts(
        &self,
        spec: &ScoreSpec,
        texts: &[&str],
        scratch: &mut Scratch,
        sums: &mut Vec<Sums>,
    ) -> Result<()> {
        for text in texts {
            sums.push(self.text(spec, text, scratch)?);
        }
        Ok(())
    }

    /// What makes tokens of text before anything is scored: one for each vocabulary that differs, and none where the
    /// model does not work so.
    fn tokenizers(&self) -> Vec<&Tokenizer> {
        Vec::new()
    }

    /// The sums of texts whose tokens are known, given for each of [`tokenizers`](Self::tokenizers).
    fn tokenised(&self, spec: &ScoreSpec, texts: &[&[Vec<u32>]]) -> Result<Vec<Sums>> {
        let _ = (spec, texts);
        Err(Error::new(Code::Internal, "a model without a tokenizer was given tokens"))
    }

    /// The sums of tokens that are the model's own ids.
    fn tokens(&self, spec: &ScoreSpec, ids: &[u32], scratch: &mut Scratch) -> Result<Sums>;
}

/// Buffers of a [`LossModel`], one a thread.
#[derive(Default)]
pub struct Scratch {
    /// For the normaliser.
    pub words: gristmill_ngram::normalize::Scratch,
    /// Ids of one or more documents under the first model.
    pub ids: Vec<u32>,
    /// Ids of the same documents under the second.
    pub second: Vec<u32>,
    /// Where documents end in `ids`, when there are several.
    pub ends: Vec<usize>,
    /// Log-probabilities of the documents.
    pub log10: Vec<f32>,
    /// For bags of ids.
    pub counter: gristmill_mix::Counter,
    /// For an adapted pair.
    pub pair: gristmill_ngram::adapt::PairScratch,
}

enum Input {
    Text(String),
    Tokens(String),
    LogProbs(Vec<String>),
    Logits(device::Logits),
}

/// Adds score columns to record batches. See the [module](self).
pub struct MemoryScorer {
    spec: ScoreSpec,
    input: Input,
    log_base: LogBase,
    bytes: Option<String>,
    keep_columns: bool,
    model: Option<Arc<dyn LossModel>>,
    device: Option<Device>,
}

/// Rows that one thread takes at a time, and between two looks at the cancel flag.
const ROWS_PER_TASK: usize = 64;

impl MemoryScorer {
    /// A scorer; text and token ids need a model, log-probabilities come from one.
    pub fn new(options: MemoryOptions, model: Option<Arc<dyn LossModel>>) -> Result<Self> {
        let MemoryOptions { method, spec, text, tokens, log_probs, log_base, bytes, keep_columns, .. } =
            options;
        let MemoryOptions { logits, targets, vocab, softcap, .. } = options;
        let refuse = |option: &str, why: &str| Err(Error::invalid_argument(option, why));
        let inputs = usize::from(text.is_some()) + usize::from(tokens.is_some()) + log_probs.len().min(1);
        let inputs = inputs + logits.len().min(1);
        let logits = device::Logits::new(logits, targets, vocab, softcap)?;
        let input = match (text, tokens) {
            _ if inputs != 1 => {
                return refuse(
                    "text",
                    "name one input: a column of text, of tokens, or one or two of logProbs or logits",
                );
            }
            (Some(column), _) => Input::Text(column),
            (_, Some(column)) => Input::Tokens(column),
            _ => logits.map_or(Input::LogProbs(log_probs), Input::Logits),
        };
        let models = match (&input, &model) {
            (Input::LogProbs(_), Some(_)) => {
                return refuse("logProbs", "log-probabilities are scored as they are: leave the model out");
            }
            (Input::LogProbs(columns), None) if columns.len() > 2 => {
                return refuse("logProbs", "there are methods for one model and for two");
            }
            (Input::LogProbs(columns), None) => columns.len(),
            (Input::Logits(_), Some(_)) => {
                return refuse("logits", "logits are scored as they are: leave the model out");
            }
            (Input::Logits(logits), None) => logits.columns.len(),
            (_, Some(model)) => model.models(),
            (_, None) => return refuse("model", "text and tokens need a model to score them"),
        };
        let spec = match (spec, method) {
            (Some(_), Some(_)) => {
                return refuse("method", "the specification names its method: leave one out");
            }
            (Some(spec), None) => spec,
            (None, method) => {
                let by_models = if models == 1 { Method::Perplexity } else { Method::LossReduction };
                let method = method.unwrap_or(by_models);
                let spec = model.as_ref().map_or_else(|| ScoreSpec::of(method), |model| model.spec(method));
                match (&input, &model) {
                    (Input::LogProbs(_) | Input::Logits(_), _) => {
                        ScoreSpec { bos: Bos::SkipFirst, eos: Eos::None, ..spec }
                    }
                    (Input::Text(_), Some(model)) => {
                        ScoreSpec { normalizer: model.normalizer().cloned(), ..spec }
                    }
                    _ => spec,
                }
            }
        };
        spec.validate()?;
        if matches!(input, Input::LogProbs(_)) && (spec.features.is_some() || spec.models().is_empty()) {
            return refuse("method", "this score is not made from log-probabilities");
        }
        if spec.models().len() != models {
            let text =
                format!("{} compares {} and there are {models}", spec.name, spec.models().join(" and "));
            return Err(Error::invalid_argument("method", text));
        }
        if let Some(model) = &model {
            model.supports(&spec)?;
        }
        if matches!(input, Input::Text(_))
            && matches!(spec.windows, Windows::Packed { .. } | Windows::Filled { .. })
        {
            return refuse("spec", "packed rows are rows of tokens, not of text: see Packer");
        }
        if spec.average == crate::Average::Bytes && bytes.is_none() && !matches!(input, Input::Text(_)) {
            return refuse(
                "bytes",
                "this score is per byte of text: name a column of text or of byte counts",
            );
        }
        Ok(Self { spec, input, log_base, bytes, keep_columns, model, device: None })
    }

    /// The same on a device: losses of logits and sums of documents are computed there, in `f32`, batch by batch.
    /// Transformers are on their device already, and it has to be this one.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for n-gram models, and for transformers on another device.
    pub fn on(self, device: Device) -> Result<Self> {
        let wrong = match self.model.as_ref().map(|model| model.device()) {
            None => None,
            Some(None) => Some("n-gram models run on the processor, whatever the device: leave it out"),
            Some(Some(own)) if own.same(&device) => None,
            Some(Some(_)) => Some("the model is on another device: leave this out"),
        };
        match wrong {
            Some(what) => Err(Error::invalid_argument("device", what)),
            None => Ok(Self { device: Some(device), ..self }),
        }
    }

    /// What the scores mean.
    pub fn spec(&self) -> &ScoreSpec {
        &self.spec
    }

    /// The schema of the result for batches of this schema; an error where our columns would hide others.
    pub fn schema(&self, input: &Schema) -> Result<SchemaRef> {
        let ours = score_fields(&self.spec);
        let mut fields: Vec<_> = Vec::new();
        if self.keep_columns {
            fields.extend(input.fields().iter().cloned());
            if let Some(clash) = ours.iter().find(|f| input.column_with_name(f.name()).is_some()) {
                return Err(Error::invalid_argument(
                    "keepColumns",
                    "the input has a column of this name already",
                )
                .hint(format!("rename or drop {:?}, or set keepColumns to false", clash.name())));
            }
        }
        fields.extend(ours.into_iter().map(Arc::new));
        let mut metadata = input.metadata().clone();
        metadata.insert(META_FORMAT.to_owned(), FORMAT.to_owned());
        metadata.insert(META_SPEC.to_owned(), self.spec.to_json());
        Ok(Arc::new(Schema::new_with_metadata(fields, metadata)))
    }

    /// Scores one batch. Errors name the row within the batch.
    pub fn score(&self, batch: &RecordBatch, control: &Control) -> Result<RecordBatch> {
        let schema = self.schema(batch.schema_ref())?;
        let mut sums = match &self.input {
            Input::Text(column) => self.score_text(batch, column, control)?,
            Input::Tokens(column) => self.score_tokens(batch, column, control)?,
            Input::LogProbs(columns) => self.score_log_probs(batch, columns)?,
            Input::Logits(logits) => self.score_logits(batch, logits)?,
        };
        if let Some(name) = &self.bytes {
            let counts = byte_counts(column(batch, name)?, name)?;
            sums.iter_mut().zip(counts).for_each(|(sums, n)| sums.n_bytes = n);
        }
        let mut columns = ScoreColumns::new(&self.spec);
        sums.iter().for_each(|sums| _ = columns.push(sums));
        let mut all = if self.keep_columns { batch.columns().to_vec() } else { Vec::new() };
        all.extend(columns.finish());
        RecordBatch::try_new(schema, all)
            .map_err(|e| Error::new(Code::Internal, format!("the scores do not fit their schema: {e}")))
    }

    fn score_text(&self, batch: &RecordBatch, name: &str, control: &Control) -> Result<Vec<Sums>> {
        let column = column(batch, name)?;
        let texts = texts(column).ok_or_else(|| wrong_type(column, name, "utf8, large_utf8 or utf8_view"))?;
        self.each_task(texts.len(), control, |model, task, sums, scratch| {
            let rows: Vec<_> = task.filter_map(|row| texts[row].map(|text| (row, text))).collect();
            let present: Vec<_> = rows.iter().map(|(_, text)| *text).collect();
            let mut found = Vec::with_capacity(rows.len());
            let scored = model.texts(&self.spec, &present, scratch, &mut found);
            if let Err(e) = scored {
                let row = rows.get(found.len()).map_or(0, |(row, _)| *row);
                return Err(e.at_column(name).at_row(row as u64));
            }
            for ((row, text), of_text) in rows.into_iter().zip(found) {
                let n_bytes = bytes_of(text.len(), name, row)?;
                sums[row % ROWS_PER_TASK] = Sums { n_bytes, ..of_text };
            }
            Ok(())
        })
    }

    fn score_tokens(&self, batch: &RecordBatch, name: &str, control: &Control) -> Result<Vec<Sums>> {
        let ids = TokenIds::of(column(batch, name)?, name)?;
        self.each_task(batch.num_rows(), control, |model, task, sums, scratch| {
            for (row, sums) in task.zip(sums) {
                let Some(ids) = ids.row(row)? else { continue };
                self.check_window(ids.len(), false, name, row)?;
                let scored = model.tokens(&self.spec, &ids, scratch);
                *sums = scored.map_err(|e| e.at_column(name).at_row(row as u64))?;
            }
            Ok(())
        })
    }

    /// Rows spread over the threads of the pool that this runs in: `score` fills the sums of a few rows,
    /// which are nothing so far.
    fn each_task(
        &self,
        rows: usize,
        control: &Control,
        score: impl Fn(&dyn LossModel, Range<usize>, &mut [Sums], &mut Scratch) -> Result<()> + Sync,
    ) -> Result<Vec<Sums>> {
        let Some(model) = &self.model else {
            return Err(Error::new(Code::Internal, "no model for text or tokens"));
        };
        let mut sums = vec![Sums::default(); rows];
        let results: Vec<Result<()>> = sums
            .par_chunks_mut(ROWS_PER_TASK)
            .enumerate()
            .map_init(Scratch::default, |scratch, (task, sums)| {
                control.check()?;
                let start = task * ROWS_PER_TASK;
                score(model.as_ref(), start..start + sums.len(), sums, scratch)
            })
            .collect();
        // The first error by row, whichever thread was faster.
        results.into_iter().collect::<Result<()>>()?;
        Ok(sums)
    }

    fn score_log_probs(&self, batch: &RecordBatch, names: &[String]) -> Result<Vec<Sums>> {
        let mut models = names
            .iter()
            .map(|name| LogProbs::of(column(batch, name)?, name))
            .collect::<Result<Vec<_>>>()?
            .into_iter();
        let Some(first) = models.next() else {
            return Err(Error::new(Code::Internal, "no column of log-probabilities"));
        };
        let rows = first.lengths.len();
        let mut sums = [vec![0.0; rows], vec![0.0; rows]];
        let second = models.next();
        if let Some(second) = &second {
            first.must_match(second, [&names[0], &names[1]])?;
        }
        match &self.device {
            Some(device) => device::sum(device, &first, second.as_ref(), &mut sums)?,
            None => sum(&first, second.as_ref(), &mut sums)?,
        }
        self.rows(&names[0], &first.lengths, &first.offsets, &sums, -self.log_base.nats())
    }

    /// The sums of every row, from those of its values times a factor.
    fn rows(
        &self,
        name: &str,
        lengths: &[Option<u32>],
        offsets: &[usize],
        [a, b]: &[Vec<f64>; 2],
        factor: f64,
    ) -> Result<Vec<Sums>> {
        let of_row = |(row, (a, b)): (usize, (&f64, &f64))| {
            let Some(length) = lengths[row] else { return Ok(Sums::default()) };
            let n_scored = (offsets[row + 1] - offsets[row]) as u32;
            self.check_window(length as usize, n_scored == length, name, row)?;
            // A row that leaves the first token out altogether has one token more than it has entries.
            let n_tokens = match self.spec.windows {
                Windows::Packed { tokens } => tokens,
                _ => length,
            };
            // Added to zero: an empty sum is 0 and not -0.
            Ok(Sums { n_tokens, n_scored, n_bytes: 0, nll: [0.0 + a * factor, 0.0 + b * factor] })
        };
        a.iter().zip(b).enumerate().map(of_row).collect()
    }

    /// Holds the length of a row against the windows of the specification. Log-probabilities may leave out
    /// the entry of a first token that is not scored.
    fn check_window(&self, length: usize, first_left_out: bool, name: &str, row: usize) -> Result<()> {
        let refuse =
            |what: String| Err(Error::new(Code::InvalidValue, what).at_column(name).at_row(row as u64));
        let skips_first = self.spec.bos == Bos::SkipFirst;
        match self.spec.windows {
            Windows::Packed { tokens } => {
                let whole = length == tokens as usize && !(first_left_out && skips_first);
                let without_first = length + 1 == tokens as usize && first_left_out && skips_first;
                if whole || without_first {
                    return Ok(());
                }
                let predictions = tokens - u32::from(skips_first);
                refuse(format!(
                    "a packed row has {tokens} tokens and {predictions} predictions, not {length} entries"
                ))
            }
            Windows::Filled { tokens } if length > tokens as usize => {
                refuse(format!("{length} tokens in a row of at most {tokens}"))
            }
            _ => Ok(()),
        }
    }
}

/// Sums of log-probabilities by row, under one model or both.
fn sum(first: &LogProbs, second: Option<&LogProbs>, sums: &mut [Vec<f64>; 2]) -> Result<()> {
    let offsets = &first.offsets;
    let [a, b] = sums;
    match (&first.values, second.map(|s| &s.values)) {
        (Floats::Single(p), None) => ops::segment_sum(p, offsets, a),
        (Floats::Double(p), None) => ops::segment_sum(p, offsets, a),
        (Floats::Single(p), Some(Floats::Single(c))) => both(p, c, offsets, a, b),
        (Floats::Double(p), Some(Floats::Double(c))) => both(p, c, offsets, a, b),
        (Floats::Single(p), Some(Floats::Double(c))) => {
            ops::segment_sum(p, offsets, a)?;
            ops::segment_sum(c, offsets, b)
        }
        (Floats::Double(p), Some(Floats::Single(c))) => {
            ops::segment_sum(p, offsets, a)?;
            ops::segment_sum(c, offsets, b)
        }
    }
}

fn both<T: gristmill_cpu::Real>(
    prior: &[T],
    conditional: &[T],
    offsets: &[usize],
    a: &mut [f64],
    b: &mut [f64],
) -> Result<()> {
    // Its score is of log-probabilities; ours is made of the sums, by the specification.
    let mut score = vec![0.0; a.len()];
    let out = ops::LossReduction { prior: a, conditional: b, score: &mut score };
    ops::loss_reduction(prior, conditional, offsets, out)
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| {
        let there: Vec<_> = batch.schema_ref().fields().iter().map(|f| f.name().clone()).collect();
        Error::new(Code::MissingColumn, format!("no column {name:?}"))
            .at_column(name)
            .hint(format!("the table has: {}", there.join(", ")))
    })
}

/// The texts of a column; `None` when it holds no text.
fn texts(column: &ArrayRef) -> Option<Vec<Option<&str>>> {
    Some(match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().iter().collect(),
        DataType::LargeUtf8 => column.as_string::<i64>().iter().collect(),
        DataType::Utf8View => column.as_string_view().iter().collect(),
        // What JavaScript's Arrow makes of strings unless it is told otherwise.
        DataType::Dictionary(..) => {
            let dictionary = column.as_any_dictionary();
            let values = texts(dictionary.values())?;
            if values.is_empty() {
                return Some(vec![None; column.len()]);
            }
            let keys = dictionary.normalized_keys();
            (0..column.len()).map(|row| if column.is_valid(row) { values[keys[row]] } else { None }).collect()
        }
        _ => return None,
    })
}

fn bytes_of(n: usize, name: &str, row: usize) -> Result<u32> {
    u32::try_from(n).map_err(|_| {
        Error::new(Code::InvalidValue, format!("{n} bytes in one row")).at_column(name).at_row(row as u64)
    })
}

/// Bytes by row, from text or from numbers; 0 for nulls.
fn byte_counts(column: &ArrayRef, name: &str) -> Result<Vec<u32>> {
    if let Some(texts) = texts(column) {
        return texts
            .iter()
            .enumerate()
            .map(|(row, text)| bytes_of(text.map_or(0, str::len), name, row))
            .collect();
    }
    if !column.data_type().is_integer() {
        return Err(wrong_type(column, name, "text, or whole numbers of bytes"));
    }
    let as_u32 = arrow_cast::cast(column, &DataType::UInt32)
        .map_err(|e| Error::new(Code::WrongType, e.to_string()).at_column(name))?;
    // The cast makes nulls of what does not fit.
    if let Some(row) = (0..column.len()).find(|&row| column.is_valid(row) && as_u32.is_null(row)) {
        return Err(Error::new(Code::InvalidValue, "no number of bytes below 2^32")
            .at_column(name)
            .at_row(row as u64));
    }
    Ok(as_u32.as_primitive::<arrow_array::types::UInt32Type>().iter().map(|n| n.unwrap_or(0)).collect())
}
