use gristmill_core::ops::AttentionOptions;
use gristmill_core::{Result, Tensor};

use super::linear::{Linear, Pending};
use super::norm::Norm;
use super::{Batch, Loader, Rotary};
use crate::config::QkNorm;

/// Causal self-attention with grouped heads: `softmax(q·kᵀ/√head_dim)·v·Woᵀ`.
#[derive(Debug)]
pub(super) struct SelfAttention {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    norms: Option<Norms>,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

/// Norms on queries and keys.
#[derive(Debug)]
struct Norms {
    q: Norm,
    k: Norm,
    /// Whether each head is normed by itself.
    per_head: bool,
}

impl SelfAttention {
    pub(super) fn load(loader: &Loader, name: &str) -> Result<Self> {
        let config = loader.config();
        let map = |part: &str, bias| Linear::load(loader, &format!("{name}.{part}"), bias);
        let norm = |part: &str| Norm::of_heads(loader, &format!("{name}.{part}"));
        let norms = match config.qk_norm {
            QkNorm::None => None,
            kind => Some(Norms { q: norm("q_norm")?, k: norm("k_norm")?, per_head: kind == QkNorm::PerHead }),
        };
        Ok(Self {
            q: map("q", config.biases.qkv)?,
            k: map("k", config.biases.qkv)?,
            v: map("v", config.biases.qkv)?,
            out: map("o", config.biases.out)?,
            norms,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, batch: &Batch, rotary: Option<&Rotary>) -> Result<Pending<'_>> {
        let (mut q, mut k, v) = (self.q.forward(x)?, self.k.forward(x)?, self.v.forward(x)?);
        if let Some(norms) = &self.norms {
            q = self.normed(q, &norms.q, norms.per_head)?;
            k = self.normed(k, &norms.k, norms.per_head)?;
        }
        if let Some(rotary) = rotary {
            rotary.turn(&q, &batch.positions, self.head_dim)?;
            rotary.turn(&k, &batch.positions, self.head_dim)?;
        }
        let options = AttentionOptions { heads: self.heads, kv_heads: self.kv_heads, scale: None };
        let x = q.attention(&k, &v, &batch.offsets, options)?;
        Ok(Pending { map: &self.out, x })
    }

    fn normed(&self, x: Tensor, norm: &Norm, per_head: bool) -> Result<Tensor> {
        let (rows, width) = x.shape().rows_cols();
        if !per_head {
            return norm.forward(&x, x.dtype());
        }
        let heads = x.reshape([rows * width / self.head_dim, self.head_dim])?;
        norm.forward(&heads, x.dtype())?.reshape([rows, width])
    }
}
