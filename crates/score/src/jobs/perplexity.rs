//! Text and a model to one number: the perplexity of a corpus.

use gristmill_core::{Code, Control, Error, Result, Unit};
use gristmill_data::Shard;
use serde::{Deserialize, Serialize};

use super::input::{self, Chain};
use super::models::{Asked, OpenDevice, TOGETHER, processor};
use super::options::{Method, NeuralOptions, SourceOptions};
use super::pipeline::Meter;
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
    let (scorer, mut used) = timings.time("load", || asked.load(open, control))?;
    let model = used.pop().ok_or_else(|| Error::new(Code::Internal, "a model that was not used"))?;

    let meter = Meter::start(control, STEP, Unit::Bytes, Some(corpus.bytes()));
    let bytes_of = |shards: &[Shard]| shards.iter().map(|shard| shard.bytes).sum();
    let mut current = 0;
    let mut scratch = Scratch::default();
    let mut totals = Totals::default();
    timings.time(STEP, || -> Result<()> {
        for batch in Chain::new(&corpus, 0..corpus.shards().len(), control) {
            control.check()?;
            let batch = batch?;
            let at = |e: Error| e.at_path(&corpus.shards()[batch.shard].url);
            let sums = scorer.sums(&batch, None, &mut scratch).map_err(at)?;
            let tokens = sums.iter().map(|s| u64::from(s.n_tokens)).sum();
            meter.add(bytes_of(&corpus.shards()[current..batch.shard]), sums.len() as u64, tokens);
            current = batch.shard;
            sums.iter().for_each(|sums| totals.add(sums));
        }
        Ok(())
    })?;
    meter.add(bytes_of(&corpus.shards()[current..]), 0, 0);
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
