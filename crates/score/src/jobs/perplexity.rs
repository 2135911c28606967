//! Text and a model to one number: the perplexity of a corpus.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use gristmill_core::{Code, Control, Error, Progress, Result, Unit};
use gristmill_data::{Compression, DocBatch, Format, Shard};
use serde::{Deserialize, Serialize};

use super::input::{self, Chain};
use super::models::{Asked, OpenDevice, TOGETHER, processor};
use super::options::{Method, NeuralOptions, SourceOptions};
use super::pipeline::lock;
use super::summary::{ModelUsed, Phase, SUMMARY_SCHEMA, Timings};
use crate::memory::{ModelOptions, Scratch};
use crate::{ScoreSpec, Sums};

/// The step of the progress reports.
const STEP: &str = "score";

/// Measure a model on text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PerplexityOptions {
    /// The model: the path of an n-gram model, or of a transformer (a folder or a `.gguf` file).
    pub model: String,
    /// The text; a plain text file is one document.
    pub text: SourceOptions,
    /// How text becomes words, where an n-gram model's file does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalizer: Option<String>,
    /// How a transformer reads and scores.
    #[serde(default)]
    pub transformer: NeuralOptions,
}

impl PerplexityOptions {
    /// The perplexity of `text` under `model`, all else by default.
    pub fn new(model: impl Into<String>, text: SourceOptions) -> Self {
        Self { model: model.into(), text, normalizer: None, transformer: NeuralOptions::default() }
    }
}

/// What [`run`] says.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PerplexitySummary {
    /// The version of this form.
    pub schema: u32,
    /// The model.
    pub model: ModelUsed,
    /// What was predicted from what.
    pub spec: ScoreSpec,
    /// Documents with text.
    pub documents: u64,
    /// Their tokens.
    pub n_tokens: u64,
    /// Predictions in the sum.
    pub n_scored: u64,
    /// Bytes of text, in UTF-8.
    pub n_bytes: u64,
    /// The summed negative log-likelihood, in nats.
    pub nll_sum: f64,
    /// `exp(nll_sum / n_scored)`: of the corpus, not the mean over documents.
    pub perplexity: f64,
    /// `nll_sum / (n_bytes · ln 2)`.
    pub bits_per_byte: f64,
    /// Wall-clock time per phase.
    pub timings: Vec<Phase>,
}

/// Scores every document of a corpus and adds all up.
///
/// # Errors
/// [`Code::InvalidValue`] when there is nothing to predict; those of options, models and reading.
pub fn run(options: PerplexityOptions, control: &Control) -> Result<PerplexitySummary> {
    run_on(options, processor, control)
}

/// [`run`] with a transformer on a device that `open` opens.
///
/// # Errors
/// As [`run`], and those of the device.
pub fn run_on(options: PerplexityOptions, open: OpenDevice, control: &Control) -> Result<PerplexitySummary> {
    let asked = Asked {
        models: ModelOptions {
            model: Some(options.model.clone()),
            normalizer: options.normalizer.clone(),
            transformer: options.transformer.clone(),
            ..ModelOptions::default()
        },
        method: Some(Method::Perplexity),
        cutoffs: None,
    };
    let together = asked.models.neural().then_some(TOGETHER);
    let rule = gristmill_data::OnError::Fail;
    let corpus = input::open_by(&options.text, "text", None, rule, together, control)?;
    let mut timings = Timings::default();
    let meter = Arc::new(Meter::new(control, corpus.bytes()));
    let within = meter.clone();
    let parts = control.silent().on_progress(Duration::ZERO, move |part| within.part(part));
    let (scorer, mut used) = timings.time("load", || asked.load(open, &parts))?;
    let model = used.pop().ok_or_else(|| Error::new(Code::Internal, "a model that was not used"))?;

    let mut scratch = Scratch::default();
    let mut totals = Totals::default();
    timings.time(STEP, || -> Result<()> {
        for batch in Chain::new(&corpus, 0..corpus.shards().len(), control) {
            control.check()?;
            let batch = batch?;
            let at = |e: Error| e.at_path(&corpus.shards()[batch.shard].url);
            meter.begin(corpus.shards(), &batch);
            let sums = scorer.sums(&batch, None, &mut scratch).map_err(at)?;
            meter.end(&sums);
            sums.iter().for_each(|sums| totals.add(sums));
        }
        Ok(())
    })?;
    meter.finish();
    if totals.n_scored == 0 {
        let what = "there is no token to predict";
        return Err(Error::new(Code::InvalidValue, what).at_column("text"));
    }
    let Totals { documents, n_tokens, n_scored, n_bytes, nll_sum } = totals;
    Ok(PerplexitySummary {
        schema: SUMMARY_SCHEMA,
        model,
        spec: scorer.spec,
        documents,
        n_tokens,
        n_scored,
        n_bytes,
        nll_sum,
        perplexity: (nll_sum / n_scored as f64).exp(),
        bits_per_byte: nll_sum / (n_bytes as f64 * std::f64::consts::LN_2),
        timings: timings.into_phases(),
    })
}

/// Progress in bytes of input as stored: of files that are done, and within a file of documents whose text lies in it as
/// it is.
struct Meter {
    control: Control,
    total: u64,
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    /// Bytes before the batch.
    done: u64,
    /// The file that the batch is of, and how many bytes of it are done.
    shard: usize,
    of_shard: u64,
    /// Bytes that the batch is worth.
    batch: u64,
    documents: u64,
    tokens: u64,
}

impl Meter {
    fn new(control: &Control, total: u64) -> Self {
        Self { control: control.clone(), total, now: Mutex::default() }
    }

    /// A batch begins.
    fn begin(&self, shards: &[Shard], batch: &DocBatch) {
        let mut now = lock(&self.now);
        if batch.shard > now.shard {
            let passed: u64 = shards[now.shard..batch.shard].iter().map(|shard| shard.bytes).sum();
            now.done += passed - now.of_shard;
            (now.shard, now.of_shard) = (batch.shard, 0);
        }
        let shard = &shards[batch.shard];
        let as_it_is = matches!(shard.format, Format::Jsonl | Format::Text);
        let text = (0..batch.len()).filter_map(|i| batch.text(i)).map(|text| text.len() as u64).sum::<u64>();
        now.batch = match as_it_is && shard.compression == Compression::None {
            true => text.min(shard.bytes - now.of_shard),
            false => 0,
        };
        self.report(now, 0, 0);
    }

    /// Part of the batch has its losses.
    fn part(&self, part: &Progress) {
        let now = lock(&self.now);
        let share = part.done as f64 / part.total.unwrap_or(0).max(1) as f64;
        let bytes = (now.batch as f64 * share) as u64;
        self.report(now, bytes, part.tokens);
    }

    /// The batch is done.
    fn end(&self, sums: &[Sums]) {
        let mut now = lock(&self.now);
        let bytes = std::mem::take(&mut now.batch);
        now.done += bytes;
        now.of_shard += bytes;
        now.documents += sums.len() as u64;
        now.tokens += sums.iter().map(|s| u64::from(s.n_tokens)).sum::<u64>();
        self.report(now, 0, 0);
    }

    /// Everything is done.
    fn finish(&self) {
        let mut now = lock(&self.now);
        now.done = self.total;
        self.report(now, 0, 0);
    }

    fn report(&self, now: MutexGuard<'_, Now>, bytes: u64, tokens: u64) {
        let Now { done, documents, tokens: before, .. } = *now;
        drop(now);
        self.control.report(&Progress {
            phase: STEP,
            done: done + bytes,
            total: (self.total > 0).then_some(self.total),
            unit: Unit::Bytes,
            documents,
            tokens: before + tokens,
        });
    }
}

/// Sums over documents, in the order of the corpus.
#[derive(Default)]
struct Totals {
    documents: u64,
    n_tokens: u64,
    n_scored: u64,
    n_bytes: u64,
    nll_sum: f64,
}

impl Totals {
    fn add(&mut self, sums: &Sums) {
        self.documents += 1;
        self.n_tokens += u64::from(sums.n_tokens);
        self.n_scored += u64::from(sums.n_scored);
        self.n_bytes += u64::from(sums.n_bytes);
        self.nll_sum += sums.nll[0];
    }
}
