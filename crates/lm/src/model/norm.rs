use gristmill_core::ops::{self, NormOptions};
use gristmill_core::{DType, Result, Tensor};

use super::Loader;
use crate::config::NormKind;

/// LayerNorm or RMSNorm over the last dimension.
#[derive(Debug)]
pub(super) struct Norm {
    options: NormOptions,
}

impl Norm {
    /// A norm of the residual stream.
    pub(super) fn load(loader: &Loader, name: &str) -> Result<Self> {
        let norm = loader.config().norm;
        let weight = loader.vector(&format!("{name}.weight"), norm.weight)?;
        let bias = loader.vector(&format!("{name}.bias"), norm.bias)?;
        Ok(Self { options: NormOptions { weight, bias, eps: norm.eps, ..NormOptions::new(kind(norm.kind)) } })
    }

    /// A norm of queries or keys, which has a weight and no bias.
    pub(super) fn of_heads(loader: &Loader, name: &str) -> Result<Self> {
        let norm = loader.config().norm;
        let weight = loader.vector(&format!("{name}.weight"), true)?;
        Ok(Self { options: NormOptions { weight, eps: norm.eps, ..NormOptions::new(kind(norm.kind)) } })
    }

    /// The normed rows, as `dtype`.
    pub(super) fn forward(&self, x: &Tensor, dtype: DType) -> Result<Tensor> {
        x.norm(NormOptions { dtype: Some(dtype), ..self.options.clone() })
    }
}

fn kind(kind: NormKind) -> ops::NormKind {
    match kind {
        NormKind::Layer => ops::NormKind::Layer,
        NormKind::Rms => ops::NormKind::Rms,
    }
}
