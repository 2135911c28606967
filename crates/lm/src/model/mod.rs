//! The transformer, composed of operations that run on any device.
//!
//! One forward pass serves all families; what they do differently is in the [`Config`]:
//!
//! ```text
//! h      = embed[ids] (+ positions[position])           the residual stream, in f32
//! h      = h + attention(norm(h));  h = h + mlp(norm'(h))         norm_order Before
//! h      = h + norm(attention(h));  h = h + norm'(mlp(h))         norm_order After
//! h      = h + attention(norm(h)) + mlp(norm'(h))                 parallel
//! losses = linear_nll(norm(h), head, targets)
//! ```
//!
//! Weights and what flows between operations are `f32` or `bf16`; the residual stream, norms' weights, biases and all
//! sums are `f32`. Linear maps are `[out, in]`; a map back to the residual stream adds to it in the product itself.
//! Logits never exist: [`linear_nll`](gristmill_core::ops::LinearNll) makes them a tile at a time.
//!
//! # A document by itself
//!
//! A batch is rows of several windows, one after the other; [`Attention`](gristmill_core::ops::Attention) looks no
//! further than its window, and every other operation treats each row alone, in an order that does not depend on how
//! many there are. So a document's losses have the same bits whatever else is in its batch.
//!
//! # Where training would join
//!
//! `Linear`, `Norm`, `SelfAttention` and `Mlp` hold the weights and own the order of operations; a backward
//! pass is a second method beside each `forward`, over what that one returns.

mod attention;
mod batch;
mod linear;
mod mlp;
mod norm;
mod rotary;

use gristmill_core::ops::NllOptions;
use gristmill_core::{Code, DType, Device, Error, Result, Tensor};

pub use batch::{Batch, Tokens};

use crate::checkpoint::Checkpoint;
use crate::config::{Config, NormOrder};
use attention::SelfAttention;
use linear::add;
use mlp::Mlp;
use norm::Norm;
use rotary::Rotary;

/// The weights of a model on a device.
#[derive(Debug)]
pub struct Transformer {
    config: Config,
    device: Device,
    dtype: DType,
    embed: Tensor,
    /// Learned positions.
    positions: Option<Tensor>,
    rotary: Option<Rotary>,
    layers: Vec<Layer>,
    norm: Norm,
    head: Tensor,
    longest: usize,
}

/// One layer: two blocks and their norms.
#[derive(Debug)]
struct Layer {
    attention_norm: Norm,
    attention: SelfAttention,
    mlp_norm: Norm,
    mlp: Mlp,
}

/// What weights are read for: where they go, as what, and under which configuration.
struct Loader<'a> {
    checkpoint: &'a Checkpoint,
    device: &'a Device,
    dtype: DType,
}

impl Loader<'_> {
    fn config(&self) -> &Config {
        self.checkpoint.config()
    }

    /// A tensor on the device, of this type.
    fn tensor_as(&self, name: &str, dtype: DType) -> Result<Tensor> {
        let tensor = self.checkpoint.tensor(name, dtype)?;
        let shape = tensor.shape.clone();
        self.device.tensor_from(tensor.into_host_bytes(), dtype, shape)
    }

    /// A matrix of weights.
    fn matrix(&self, name: &str) -> Result<Tensor> {
        self.tensor_as(name, self.dtype)
    }

    /// A vector, which is `f32` whatever the matrices are; `None` where the model has none.
    fn vector(&self, name: &str, there: bool) -> Result<Option<Tensor>> {
        there.then(|| self.tensor_as(name, DType::F32)).transpose()
    }
}

impl Transformer {
    /// Reads all weights, one tensor at a time, and puts them on the device as `f32` or `bf16`. Windows may have up to
    /// `longest` tokens.
    ///
    /// # Errors
    /// Those of [`Checkpoint::tensor`]; [`Code::InvalidArgument`] when `longest` is 0 or, where positions are learned,
    /// beyond the context; [`Code::Unsupported`] for clipped queries; [`Code::OutOfMemory`].
    pub fn load(checkpoint: &Checkpoint, device: &Device, dtype: DType, longest: usize) -> Result<Self> {
        if ![DType::F32, DType::Bf16].contains(&dtype) {
            let what = format!("a model computes in f32 or bf16, not in {dtype}");
            return Err(Error::invalid_argument("dtype", what));
        }
        let config = checkpoint.config().clone();
        if let Some(clip) = config.clip_qkv {
            let what = format!("clip_qkv = {clip} is not implemented");
            return Err(Error::new(Code::Unsupported, what).at_column("clip_qkv"));
        }
        if longest == 0 || (config.rope.is_none() && longest > config.context) {
            let what = format!("windows of {longest} tokens: the model takes 1 to {}", config.context);
            return Err(Error::invalid_argument("window", what));
        }
        let loader = Loader { checkpoint, device, dtype };
        let embed = loader.matrix("embed.weight")?;
        let positions = config.rope.is_none().then(|| loader.matrix("positions.weight")).transpose()?;
        let rotary = config.rope.as_ref().map(|rope| Rotary::new(rope, longest, device)).transpose()?;
        let layers = (0..config.layers)
            .map(|i| {
                Ok(Layer {
                    attention_norm: Norm::load(&loader, &format!("layers.{i}.attn_norm"))?,
                    attention: SelfAttention::load(&loader, &format!("layers.{i}.attn"))?,
                    mlp_norm: Norm::load(&loader, &format!("layers.{i}.mlp_norm"))?,
                    mlp: Mlp::load(&loader, &format!("layers.{i}.mlp"))?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let norm = Norm::load(&loader, "norm")?;
        let head = if config.tied { embed.clone() } else { loader.matrix("head.weight")? };
        // Weights that did not fit are known here and not at the first loss.
        device.synchronize()?;
        let device = device.clone();
        Ok(Self { config, device, dtype, embed, positions, rotary, layers, norm, head, longest })
    }

    /// What the model is.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where its weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What it computes in.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The most tokens that a window may have.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The hidden states behind the last norm, `[rows, hidden]`.
    ///
    /// # Errors
    /// Those of the operations.
    pub fn hidden(&self, batch: &Batch) -> Result<Tensor> {
        let h = self.embed.gather(&batch.ids, Some(DType::F32))?;
        if let Some(positions) = &self.positions {
            add(&positions.gather(&batch.positions, Some(DType::F32))?, &h)?;
        }
        for layer in &self.layers {
            layer.forward(&h, batch, self)?;
        }
        self.norm.forward(&h, self.dtype)
    }

    /// The losses of the batch's targets, in nats, `[targets]`, `f32`.
    ///
    /// # Errors
    /// Those of the operations. An id or a target outside the vocabulary shows when the losses are read.
    pub fn losses(&self, batch: &Batch) -> Result<Tensor> {
        let hidden = self.hidden(batch)?;
        let scored = match &batch.scored {
            None => hidden,
            Some(rows) => hidden.gather(rows, None)?,
        };
        scored.linear_nll(&self.head, &batch.targets, NllOptions::default())
    }
}

impl Layer {
    /// Adds the layer's blocks to the residual stream `h`.
    fn forward(&self, h: &Tensor, batch: &Batch, model: &Transformer) -> Result<()> {
        let dtype = model.dtype;
        let rotary = model.rotary.as_ref();
        match (model.config.norm_order, model.config.parallel) {
            (NormOrder::Before, true) => {
                let for_mlp = self.mlp_norm.forward(h, dtype)?;
                let for_attention = self.attention_norm.forward(h, dtype)?;
                self.attention.forward(&for_attention, batch, rotary)?.onto(h)?;
                self.mlp.forward(&for_mlp)?.onto(h)
            }
            (NormOrder::Before, false) => {
                let x = self.attention_norm.forward(h, dtype)?;
                self.attention.forward(&x, batch, rotary)?.onto(h)?;
                let x = self.mlp_norm.forward(h, dtype)?;
                self.mlp.forward(&x)?.onto(h)
            }
            (NormOrder::After, _) => {
                let out = self.attention.forward(&narrow(h, dtype)?, batch, rotary)?.alone()?;
                add(&self.attention_norm.forward(&out, DType::F32)?, h)?;
                let out = self.mlp.forward(&narrow(h, dtype)?)?.alone()?;
                add(&self.mlp_norm.forward(&out, DType::F32)?, h)
            }
        }
    }
}

/// The residual stream as input of a linear map.
fn narrow(h: &Tensor, dtype: DType) -> Result<Tensor> {
    if h.dtype() == dtype { Ok(h.clone()) } else { h.cast(dtype) }
}
