//! The models of a score job that are read from files.

use gristmill_core::{Code, Control, Device, Error, Result};

use super::options::Method;
use super::scorer::Scorer;
use super::summary::ModelUsed;
use crate::Cutoffs;
use crate::memory::ModelOptions;

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
pub(crate) struct Asked {
    pub(crate) models: ModelOptions,
    pub(crate) method: Option<Method>,
    pub(crate) cutoffs: Option<Cutoffs>,
}

impl Asked {
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
        let (losses, fingerprints) = self.models.read(&files, open, control)?;
        let scorer = Scorer::new(method, losses)?.with_cutoffs(self.cutoffs)?;
        let used = files.iter().zip(fingerprints).map(|((role, path), sha256)| ModelUsed {
            role: (*role).to_owned(),
            path: (*path).to_owned(),
            sha256,
            weight: None,
        });
        Ok((scorer, used.collect()))
    }
}
