//! Score columns for record batches.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use gristmill_core::{Code, Control, Device, Error, Result};
use gristmill_cpu::ops;
use rayon::prelude::*;

use super::columns::{byte_counts, bytes_of, column, texts};
use super::device;
use super::lists::{Floats, LogProbs, TokenIds, wrong_type};
use super::{LogBase, LossModel, MemoryOptions, Scratch};
use crate::methods::{Method, Sums};
use crate::sidecar::{FORMAT, META_FORMAT, META_SPEC, ScoreColumns, score_fields};
use crate::spec::{Bos, Eos, ScoreSpec, Windows};

enum Input {
    Text(String),
    Tokens(String),
    LogProbs(Vec<String>),
    Logits(device::Logits),
}

/// Adds score columns to record batches. See the [module](super).
pub struct MemoryScorer {
    spec: ScoreSpec,
    input: Input,
    log_base: LogBase,
    bytes: Option<String>,
    keep_columns: bool,
    model: Option<Arc<dyn LossModel>>,
    pub(super) device: Option<Device>,
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
        self.each_task(name, texts.len(), control, |model, task, scratch| {
            let present: Vec<_> = task.filter_map(|row| texts[row].map(|text| (row, text))).collect();
            let (rows, texts): (Vec<_>, Vec<_>) = present.into_iter().unzip();
            let found = model
                .texts(&self.spec, &texts, scratch)
                .map_err(|e| e.map_row(|i| rows[i as usize] as u64))?;
            let of_text = |((row, text), sums): ((usize, &str), Sums)| {
                Ok((row, Sums { n_bytes: bytes_of(text.len(), name, row)?, ..sums }))
            };
            rows.into_iter().zip(texts).zip(found).map(of_text).collect()
        })
    }

    fn score_tokens(&self, batch: &RecordBatch, name: &str, control: &Control) -> Result<Vec<Sums>> {
        let ids = TokenIds::of(column(batch, name)?, name)?;
        self.each_task(name, batch.num_rows(), control, |model, task, scratch| {
            let (mut rows, mut tokens) = (Vec::new(), Vec::new());
            let mut refused = Ok(());
            for row in task {
                let of_row = ids.row(row).and_then(|ids| match &ids {
                    Some(found) => self.check_window(found.len(), false, name, row).map(|()| ids),
                    None => Ok(None),
                });
                match of_row {
                    Ok(Some(ids)) => {
                        rows.push(row);
                        tokens.push(ids);
                    }
                    Ok(None) => {}
                    Err(e) => {
                        refused = Err(e);
                        break;
                    }
                }
            }
            let tokens: Vec<_> = tokens.iter().map(AsRef::as_ref).collect();
            let found = model.rows(&self.spec, &tokens, scratch);
            let found = found.map_err(|e| e.map_row(|i| rows[i as usize] as u64))?;
            // After the rows before it: the first error by row is the one that is told.
            refused?;
            Ok(rows.into_iter().zip(found).collect())
        })
    }

    /// Rows spread over the threads of the pool that this runs in: `score` gives the sums of those of its rows that have
    /// any; the others have nothing.
    fn each_task(
        &self,
        name: &str,
        rows: usize,
        control: &Control,
        score: impl Fn(&dyn LossModel, Range<usize>, &mut Scratch) -> Result<Vec<(usize, Sums)>> + Sync,
    ) -> Result<Vec<Sums>> {
        let Some(model) = &self.model else {
            return Err(Error::new(Code::Internal, "no model for text or tokens"));
        };
        let mut sums = vec![Sums::default(); rows];
        let task = |scratch: &mut Scratch, (task, sums): (usize, &mut [Sums])| -> Result<()> {
            control.check()?;
            let start = task * ROWS_PER_TASK;
            let found =
                score(model.as_ref(), start..start + sums.len(), scratch).map_err(|e| e.at_column(name))?;
            found.into_iter().for_each(|(row, found)| sums[row - start] = found);
            Ok(())
        };
        let results: Vec<Result<()>> = match model.device() {
            // A device of its own has the threads of this pool to work with: none of them may wait for it.
            Some(_) => {
                let scratch = &mut Scratch::default();
                sums.chunks_mut(ROWS_PER_TASK).enumerate().map(|rows| task(scratch, rows)).collect()
            }
            None => sums.par_chunks_mut(ROWS_PER_TASK).enumerate().map_init(Scratch::default, task).collect(),
        };
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
    pub(super) fn rows(
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
