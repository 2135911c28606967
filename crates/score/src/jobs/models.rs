//! The models of a score job that are read from files.

use gristmill_core::{Code, Control, Device, Error, Result};
use gristmill_ngram::model::Model;

use super::options::Method;
use super::scorer::Scorer;
use super::summary::ModelUsed;
use crate::Cutoffs;
use crate::memory::{LossModel, ModelOptions, Neural, NeuralOptions, Ngrams, transformer};

/// Opens the device that a selector names, such as `auto` or `cuda:1`.
pub type OpenDevice = fn(&str) -> Result<Device>;

/// Documents that are scored together by a transformer: few enough that progress is seen on a processor, many enough
/// to fill a batch.
pub(crate) const TOGETHER: usize = 32;

/// The device where no other is known: the processor.
///
/// # Errors
/// [`Code::DeviceUnavailable`] for any selector but `auto` and `cpu`.
pub fn processor(selector: &str) -> Result<Device> {
    match selector {
        "auto" | "cpu" => gristmill_cpu::open(),
        other => Err(Error::new(Code::DeviceUnavailable, format!("there is no device {other:?} here"))),
    }
}

/// Which models score, and how.
pub(crate) struct Asked<'a> {
    pub(crate) models: ModelOptions,
    pub(crate) method: Option<Method>,
    pub(crate) cutoffs: Option<Cutoffs>,
    pub(crate) transformer: &'a NeuralOptions,
}

impl Asked<'_> {
    /// Whether any model is a transformer.
    pub(crate) fn neural(&self) -> bool {
        self.models.named().any(|path| transformer(path).is_some())
    }

    /// Reads the models and builds their scorer.
    pub(crate) fn load(&self, open: OpenDevice, control: &Control) -> Result<(Scorer, Vec<ModelUsed>)> {
        let method = self.method.unwrap_or_else(|| self.models.method());
        if matches!(method, Method::Dsir | Method::Classifier) {
            let message = format!("{method} learns from a target, not from model files");
            return Err(Error::invalid_argument("target", message));
        }
        if method.roles().is_empty() {
            let message = format!("{method} is not made by models of a language");
            return Err(Error::invalid_argument("method", message));
        }
        let files = self.models.files(method)?;
        let (losses, fingerprints): (Box<dyn LossModel>, Vec<String>) = if self.neural() {
            let neural = self.transformers(&files, open, control)?;
            let fingerprints = neural.fingerprints().map(str::to_owned).collect();
            (Box::new(neural), fingerprints)
        } else {
            if let Some(option) = self.transformer.given() {
                return Err(Error::invalid_argument(option, "is of transformers, and no model is one"));
            }
            let load = |(_, path): &(_, &str)| Model::load(path);
            let models = files.iter().map(load).collect::<Result<Vec<_>>>()?;
            let fingerprints = models.iter().map(|m| m.sha256().unwrap_or_default().to_owned()).collect();
            (Box::new(Ngrams::new(models, self.models.normalizer.as_deref())?), fingerprints)
        };
        let scorer = Scorer::new(method, losses)?.with_cutoffs(self.cutoffs)?;
        let used = files.iter().zip(fingerprints).map(|((role, path), sha256)| ModelUsed {
            role: (*role).to_owned(),
            path: (*path).to_owned(),
            sha256,
            weight: None,
        });
        Ok((scorer, used.collect()))
    }

    fn transformers(
        &self,
        files: &[(&'static str, &str)],
        open: OpenDevice,
        control: &Control,
    ) -> Result<Neural> {
        if self.models.normalizer.is_some() {
            let what = "a transformer comes with its tokenizer: leave this out";
            return Err(Error::invalid_argument("normalizer", what));
        }
        let paths = files.iter().map(|(role, path)| {
            transformer(path).ok_or_else(|| {
                let what = format!("{path} is no transformer, and the other model is one");
                Error::invalid_argument(role, what)
                    .hint("losses can be compared only over the same tokens: name two transformers")
            })
        });
        let paths = paths.collect::<Result<Vec<_>>>()?;
        let device = open(self.transformer.device.as_deref().unwrap_or("auto"))?;
        Neural::load(&paths, &device, self.transformer.clone(), control)
    }
}
