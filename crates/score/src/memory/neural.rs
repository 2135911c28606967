//! Transformer language models as the source of losses.

use std::sync::Arc;

use gristmill_core::{Code, Control, DType, Device, Error, Result};
use gristmill_lm::windows::{Plan, Window};
use gristmill_lm::{LanguageModel, LoadOptions, Tokenizer, Tokens};
use gristmill_ngram::normalize::NormalizerSpec;
use serde::{Deserialize, Serialize};

use super::{LossModel, Scratch};
use crate::methods::{Method, Sums};
use crate::spec::{Average, Bos, Eos, Mask, ScoreSpec, Windows};

/// How documents are cut for a transformer, under names that users of other tools know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recipe {
    /// Windows of `window` tokens that begin `stride` apart, as on Hugging Face's page on perplexity: each scores what
    /// the one before did not reach, and the first token of the document is not scored.
    #[default]
    Huggingface,
    /// The rolling log-likelihood of lm-evaluation-harness: a marker first (BOS, else EOS), so that every token is
    /// scored, in windows of `window` targets with one token of context.
    LmEval,
    /// The document as a whole, or an error where it is longer than `window`; the first token is not scored.
    Document,
    /// The first `window` tokens of the document; the first of these is not scored.
    Truncated,
}

/// How transformers read and score.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct NeuralOptions {
    /// The device, such as `auto`, `cpu`, `cuda:1`; `auto` when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// `f32` or `bf16`; by default `f32` below 10⁹ parameters, else `bf16`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// How documents are cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Recipe>,
    /// Tokens of a window; the model's context, or 2,048 if that is less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u32>,
    /// Tokens from one window to the next, of the recipe `huggingface`; half a window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stride: Option<u32>,
    /// Tokens of a batch; by the kind of device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_tokens: Option<usize>,
}

impl NeuralOptions {
    /// The option that was given, if any was.
    pub(crate) fn given(&self) -> Option<&'static str> {
        [
            ("device", self.device.is_some()),
            ("dtype", self.dtype.is_some()),
            ("recipe", self.recipe.is_some()),
            ("window", self.window.is_some()),
            ("stride", self.stride.is_some()),
            ("batchTokens", self.batch_tokens.is_some()),
        ]
        .into_iter()
        .find_map(|(name, given)| given.then_some(name))
    }
}

/// What stands before the path of a transformer.
const LM: &str = "lm:";

/// The path of a transformer, where an option names one: a folder, a `.gguf` file, or anything behind `lm:`.
pub(crate) fn transformer(named: &str) -> Option<&str> {
    if let Some(path) = named.strip_prefix(LM) {
        return Some(path);
    }
    let path = std::path::Path::new(named);
    let gguf = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
    (gguf || path.is_dir()).then_some(named)
}

/// One transformer, or two that are compared.
pub struct Neural {
    models: Vec<Arc<LanguageModel>>,
    normalizer: NormalizerSpec,
    /// Whether tokens of one are those of the other.
    shared: bool,
    options: NeuralOptions,
    control: Control,
}

impl Neural {
    /// Reads models and puts them on the device, in the order of the method's roles. Scoring stops when `control` says
    /// so.
    ///
    /// # Errors
    /// Those of [`LanguageModel::load`]; [`Code::InvalidArgument`] for options that contradict each other.
    pub fn load(paths: &[&str], device: &Device, options: NeuralOptions, control: &Control) -> Result<Self> {
        let load = LoadOptions {
            dtype: options.dtype.as_deref().map(str::parse::<DType>).transpose()?,
            longest: options.window.map(|w| w as usize),
            batch_tokens: options.batch_tokens,
        };
        let mut models = Vec::new();
        for path in paths {
            control.check()?;
            models.push(Arc::new(LanguageModel::load(path, device, load)?));
        }
        Self::new(models, options, control.clone())
    }

    /// These models, in the order of the method's roles.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for other than one or two, or a stride that another recipe has no use for.
    pub fn new(models: Vec<Arc<LanguageModel>>, options: NeuralOptions, control: Control) -> Result<Self> {
        if !(1..=2).contains(&models.len()) {
            let text = format!("{} models: there are methods for one and for two", models.len());
            return Err(Error::invalid_argument("model", text));
        }
        if options.stride.is_some() && options.recipe.unwrap_or_default() != Recipe::Huggingface {
            return Err(Error::invalid_argument("stride", "only the recipe huggingface has a stride"));
        }
        let prints: Vec<&str> = models.iter().map(|m| m.tokenizer().fingerprint()).collect();
        let shared = prints.windows(2).all(|p| p[0] == p[1]);
        let normalizer =
            NormalizerSpec { name: models[0].tokenizer().name().to_owned(), sha256: Some(prints.join("+")) };
        let neural = Self { models, normalizer, shared, options, control };
        // By the names of the options, which the specification's own check does not know.
        plan(neural.spec(Method::Perplexity).windows).check()?;
        Ok(neural)
    }

    /// The SHA-256 of the files of each model.
    pub fn fingerprints(&self) -> impl Iterator<Item = &str> {
        self.models.iter().map(|m| m.fingerprint())
    }

    /// The fewest tokens that a window may have under all models.
    fn longest(&self) -> usize {
        self.models.iter().map(|m| m.transformer().longest()).min().unwrap_or(0)
    }

    /// The marker before the first token, if the specification wants one.
    fn marker(model: &LanguageModel, spec: &ScoreSpec) -> Option<u32> {
        let tokenizer = model.tokenizer();
        (spec.bos == Bos::Context).then(|| tokenizer.bos().or(tokenizer.eos())).flatten()
    }

    /// The documents as streams of a model, with their markers; those without a token are empty.
    fn streams(model: &LanguageModel, spec: &ScoreSpec, documents: &[Vec<u32>]) -> Vec<Vec<u32>> {
        let marker = Self::marker(model, spec);
        let end = (spec.eos == Eos::Scored).then(|| model.tokenizer().eos()).flatten();
        let stream = |ids: &Vec<u32>| {
            let kept = match spec.windows {
                Windows::Truncated { tokens } => ids.len().min(tokens as usize),
                _ => ids.len(),
            };
            // The end of a document that is cut is not seen, so it is not predicted.
            let end = end.filter(|_| kept == ids.len());
            match ids.is_empty() {
                true => Vec::new(),
                false => marker.into_iter().chain(ids[..kept].iter().copied()).chain(end).collect(),
            }
        };
        documents.iter().map(stream).collect()
    }

    /// Summed losses of documents under models of one tokenizer, and how many predictions are in each sum.
    fn sum(
        &self,
        models: &[&LanguageModel],
        spec: &ScoreSpec,
        documents: &[Vec<u32>],
    ) -> Result<Vec<Vec<(f64, u32)>>> {
        let streams = Self::streams(models[0], spec, documents);
        let plan = plan(spec.windows);
        let cut: Vec<Vec<Window>> = streams.iter().map(|s| plan.windows(s.len())).collect();
        let longest = self.longest();
        let too_long = |cut: &Vec<Window>| cut.iter().any(|w| w.inputs() > longest);
        if let Some(index) = cut.iter().position(too_long) {
            let what = format!("a document of {} tokens, of which {longest} are seen", streams[index].len());
            return Err(Error::new(Code::InvalidValue, what)
                .hint("score it in windows (the recipe huggingface), or cut it (the recipe truncated)")
                .at_row(index as u64));
        }
        let windows = streams.iter().zip(&cut).flat_map(|(stream, cut)| {
            cut.iter().map(|w| Tokens { ids: &stream[w.tokens.clone()], first: w.first - w.tokens.start })
        });
        let windows: Vec<Tokens> = windows.collect();
        let masked = Masked::of(models[0], spec);
        let of_model = |losses: Vec<Vec<f32>>| {
            let mut losses = losses.into_iter();
            let sum = |(stream, cut): (&Vec<u32>, &Vec<Window>)| {
                let targets = cut.iter().zip(losses.by_ref()).flat_map(|(w, losses)| w.targets().zip(losses));
                let counted = targets.filter(|(target, _)| !masked.at(stream, *target));
                counted.fold((0.0, 0), |(sum, n), (_, loss)| (sum + f64::from(loss), n + 1))
            };
            streams.iter().zip(&cut).map(sum).collect()
        };
        let losses = LanguageModel::losses_of(models, &windows, &self.control)?;
        Ok(losses.into_iter().map(of_model).collect())
    }

    /// The sums of documents, given as the tokens of each model (or of the one tokenizer that they share).
    fn sums(&self, spec: &ScoreSpec, documents: &[&[Vec<u32>]]) -> Result<Vec<Sums>> {
        let mut sums: Vec<Sums> =
            documents[0].iter().map(|ids| Sums { n_tokens: ids.len() as u32, ..Sums::default() }).collect();
        let models: Vec<&LanguageModel> = self.models.iter().map(Arc::as_ref).collect();
        // Models that read the same tokens on the same device read the same batches.
        let one_place =
            models.iter().all(|m| m.transformer().device().same(models[0].transformer().device()));
        let together = if self.shared && one_place { models.len() } else { 1 };
        let losses = models
            .chunks(together)
            .enumerate()
            .map(|(group, models)| self.sum(models, spec, documents[group.min(documents.len() - 1)]));
        let losses = losses.collect::<Result<Vec<_>>>()?;
        for (at, of_model) in losses.iter().flatten().enumerate() {
            for (sums, &(loss, n_scored)) in sums.iter_mut().zip(of_model) {
                sums.nll[at] = loss;
                if at == 0 {
                    sums.n_scored = n_scored;
                }
            }
        }
        Ok(sums)
    }
}

/// Which predictions are left out.
struct Masked {
    /// The end marker after which nothing is predicted.
    after: Option<u32>,
    /// Where the document's own tokens begin.
    first: usize,
}

impl Masked {
    fn of(model: &LanguageModel, spec: &ScoreSpec) -> Self {
        let after = (spec.mask == Mask::AfterEos).then(|| model.tokenizer().eos()).flatten();
        Self { after, first: usize::from(Neural::marker(model, spec).is_some()) }
    }

    fn at(&self, stream: &[u32], target: usize) -> bool {
        self.after.is_some_and(|eos| target > self.first && stream[target - 1] == eos)
    }
}

/// How the streams of documents are cut.
fn plan(windows: Windows) -> Plan {
    match windows {
        // What is cut from a document was cut from its stream.
        Windows::Document | Windows::Truncated { .. } => Plan::Whole,
        Windows::Packed { .. } | Windows::Filled { .. } => Plan::Whole,
        Windows::Sliding { tokens, stride } => {
            Plan::Sliding { tokens: tokens as usize, stride: stride as usize }
        }
        Windows::Rolling { tokens } => Plan::Rolling(tokens as usize),
    }
}

impl LossModel for Neural {
    fn models(&self) -> usize {
        self.models.len()
    }

    fn normalizer(&self) -> Option<&NormalizerSpec> {
        Some(&self.normalizer)
    }

    fn device(&self) -> Option<&Device> {
        self.models.first().map(|m| m.transformer().device())
    }

    fn spec(&self, method: Method) -> ScoreSpec {
        let longest = self.options.window.unwrap_or(self.longest() as u32);
        let stride = self.options.stride.unwrap_or((longest / 2).max(1));
        let recipe = self.options.recipe.unwrap_or_default();
        let (bos, windows) = match recipe {
            Recipe::Huggingface => (Bos::SkipFirst, Windows::Sliding { tokens: longest, stride }),
            Recipe::LmEval => (Bos::Context, Windows::Rolling { tokens: longest }),
            Recipe::Document => (Bos::SkipFirst, Windows::Document),
            Recipe::Truncated => (Bos::SkipFirst, Windows::Truncated { tokens: longest }),
        };
        // A model whose tokenizer puts a marker first was never without one.
        let marked = self.models.iter().all(|m| m.tokenizer().adds_bos());
        let bos = if marked { Bos::Context } else { bos };
        let dtype = Some(self.models[0].transformer().dtype().name().to_owned());
        ScoreSpec { bos, eos: Eos::None, windows, dtype, ..ScoreSpec::of(method) }
    }

    fn supports(&self, spec: &ScoreSpec) -> Result<()> {
        let refuse = |what: &str| Err(Error::new(Code::Unsupported, what));
        if spec.features.is_some() || spec.models().is_empty() {
            return refuse("language models give losses, and this score is not made from any");
        }
        if spec.bos == Bos::None {
            return refuse("a transformer gives no probability to a token without context");
        }
        let tokenizers = || self.models.iter().map(|m| m.tokenizer());
        if spec.bos == Bos::Context && tokenizers().any(|t| t.bos().or(t.eos()).is_none()) {
            return refuse("the model has no begin or end marker to stand before the first token");
        }
        let ends = spec.eos == Eos::Scored || spec.mask == Mask::AfterEos;
        if ends && tokenizers().any(|t| t.eos().is_none()) {
            return refuse("the model has no end marker");
        }
        if !self.shared && spec.average != Average::Bytes {
            return Err(Error::new(
                Code::Unsupported,
                "the models have different tokenizers: their losses compare only per byte of text",
            )
            .hint("use bits-per-byte of each, or two models with one tokenizer"));
        }
        plan(spec.windows).check()?;
        let inputs = plan(spec.windows).longest(usize::MAX);
        if inputs != usize::MAX - 1 && inputs > self.longest() {
            let what = format!("windows of {inputs} tokens: the model was loaded for {}", self.longest());
            return Err(Error::invalid_argument("window", what));
        }
        Ok(())
    }

    fn text(&self, spec: &ScoreSpec, text: &str, scratch: &mut Scratch) -> Result<Sums> {
        one(self.texts(spec, &[text], scratch)?)
    }

    fn texts(&self, spec: &ScoreSpec, texts: &[&str], _: &mut Scratch) -> Result<Vec<Sums>> {
        let tokens = self.tokenizers().into_iter().map(|t| t.encode_batch(texts));
        let tokens = tokens.collect::<Result<Vec<_>>>()?;
        let documents: Vec<&[Vec<u32>]> = tokens.iter().map(Vec::as_slice).collect();
        self.sums(spec, &documents)
    }

    fn tokenizers(&self) -> Vec<&Tokenizer> {
        let kinds = if self.shared { 1 } else { self.models.len() };
        self.models[..kinds].iter().map(|m| m.tokenizer()).collect()
    }

    fn tokenised(&self, spec: &ScoreSpec, texts: &[&[Vec<u32>]]) -> Result<Vec<Sums>> {
        self.sums(spec, texts)
    }

    fn tokens(&self, spec: &ScoreSpec, ids: &[u32], scratch: &mut Scratch) -> Result<Sums> {
        one(self.rows(spec, &[ids], scratch)?)
    }

    fn rows(&self, spec: &ScoreSpec, rows: &[&[u32]], _: &mut Scratch) -> Result<Vec<Sums>> {
        let vocab = self.models.iter().map(|m| m.transformer().config().vocab).min().unwrap_or(0);
        let unknown = |ids: &[u32]| ids.iter().copied().find(|&id| id as usize >= vocab);
        if let Some((index, id)) = rows.iter().enumerate().find_map(|(i, ids)| Some((i, unknown(ids)?))) {
            let what = format!("the model has no token {id}");
            return Err(Error::new(Code::InvalidValue, what).at_row(index as u64));
        }
        let documents: Vec<Vec<u32>> = rows.iter().map(|ids| ids.to_vec()).collect();
        self.sums(spec, &[&documents])
    }
}

fn one(mut sums: Vec<Sums>) -> Result<Sums> {
    sums.pop().ok_or_else(|| Error::new(Code::Internal, "a text without a sum"))
}
