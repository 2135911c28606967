use gristmill_core::ops::{ActivationKind, ActivationOptions};
use gristmill_core::{Result, Tensor};

use super::Loader;
use super::linear::{Linear, Pending};
use crate::config::Activation;

/// The feed-forward block: `act(x·Wgateᵀ)∘(x·Wupᵀ)·Wdownᵀ`, or without a gate `act(x·Wupᵀ)·Wdownᵀ`.
#[derive(Debug)]
pub(super) struct Mlp {
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
    kind: ActivationKind,
}

impl Mlp {
    pub(super) fn load(loader: &Loader, name: &str) -> Result<Self> {
        let config = loader.config();
        let map = |part: &str| Linear::load(loader, &format!("{name}.{part}"), config.biases.mlp);
        Ok(Self {
            gate: config.gated.then(|| map("gate")).transpose()?,
            up: map("up")?,
            down: map("down")?,
            kind: match config.activation {
                Activation::Gelu => ActivationKind::Gelu,
                Activation::GeluTanh => ActivationKind::GeluTanh,
                Activation::Silu => ActivationKind::Silu,
            },
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Pending<'_>> {
        // The bias of what the function sees is added within it.
        let (inner, times) = match &self.gate {
            Some(gate) => (gate, Some(self.up.forward(x)?)),
            None => (&self.up, None),
        };
        let options = ActivationOptions { bias: inner.bias.clone(), times };
        let x = inner.product(x)?.activation(self.kind, options)?;
        Ok(Pending { map: &self.down, x })
    }
}
