use gristmill_core::ops::{EmbeddingOptions, NormsMethod, NormsOptions, Reduction};
use gristmill_core::{Code, DType, Device, Error, Result, Tensor};
use serde::{Deserialize, Serialize};

/// What the backward pass of a linear layer has: `y = x Wᵀ + b`, `W` `[p, d]`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// What went into it, `[samples, d]`, `[samples, T, d]`, or with offsets `[rows, d]`.
    pub x: Tensor,
    /// Gradients of the samples' own losses with respect to what came out, `[.., p]`.
    pub dy: Tensor,
    /// Whether it has a bias.
    pub bias: bool,
    /// Where the rows of each sample begin, `[samples + 1]`.
    pub offsets: Option<Tensor>,
    /// How norms are computed; by the cheaper one unless given.
    pub method: Option<NormsMethod>,
}

/// What the backward pass of a table of embeddings has.
#[derive(Debug, Clone)]
pub struct Embedding {
    /// Rows of the table that were looked up, `[samples]`, `[samples, T]`, or with offsets `[rows]`.
    pub ids: Tensor,
    /// Gradients with respect to what was found there, `[.., d]`.
    pub dy: Tensor,
    /// How many rows the table has; those of the step before unless given.
    pub vocabulary: Option<usize>,
    /// A row that is not trained.
    pub padding_idx: Option<u32>,
    /// Where the rows of each sample begin, `[samples + 1]`.
    pub offsets: Option<Tensor>,
}

/// What the backward pass of a normalisation has: `y = scale · xhat + shift`.
#[derive(Debug, Clone)]
pub struct Norm {
    /// What was scaled, `[samples, n]`, `[samples, T, n]`, or with offsets `[rows, n]`.
    pub xhat: Tensor,
    /// Gradients with respect to what came out, of the same shape.
    pub dy: Tensor,
    /// Whether there is a shift, as `LayerNorm` has and `RMSNorm` has not.
    pub bias: bool,
    /// Where the rows of each sample begin, `[samples + 1]`.
    pub offsets: Option<Tensor>,
}

/// What the backward pass has of one table that is both embedding and head: logits are `h Wᵀ + b`.
#[derive(Debug, Clone)]
pub struct Tied {
    /// Rows that were looked up, `[samples]`, `[samples, T]`, or with offsets `[rows]`.
    pub ids: Tensor,
    /// Gradients with respect to what was found there, `[.., d]`.
    pub dy: Tensor,
    /// What went into the head, `[.., d]`.
    pub h: Tensor,
    /// Gradients with respect to the logits, `[.., vocabulary]`.
    pub dlogits: Tensor,
    /// Whether the head has a bias.
    pub bias: bool,
    /// Where the rows of each sample begin, `[samples + 1]`.
    pub offsets: Option<Tensor>,
}

/// Sizes of the parameters of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LayerShape {
    pub(super) kind: LayerKind,
    pub(super) weight: Vec<usize>,
    pub(super) bias: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LayerKind {
    Linear,
    Embedding,
    Norm,
    Tied,
}

/// The sum of clipped gradients of a layer.
#[derive(Debug, Clone)]
pub struct Gradient {
    /// Of the weight, the table or the scale, `f32`.
    pub weight: Tensor,
    /// Of the bias or the shift, `f32`.
    pub bias: Option<Tensor>,
}

impl Gradient {
    pub(super) fn zeros(device: &Device, shape: &LayerShape) -> Result<Self> {
        let bias = shape.bias.map(|n| device.zeros(DType::F32, [n])).transpose()?;
        Ok(Self { weight: device.zeros(DType::F32, shape.weight.clone())?, bias })
    }
}

/// A tensor that must stay as it is until it has been used.
#[derive(Debug)]
pub(super) struct Held {
    tensor: Tensor,
    version: u64,
}

impl Held {
    fn new(tensor: Tensor) -> Self {
        Self { version: tensor.version(), tensor }
    }

    /// What was summed would not be what was measured.
    fn check(&self, argument: &str) -> Result<()> {
        if self.tensor.version() == self.version {
            return Ok(());
        }
        let message =
            "it was written to after it was recorded: what would be summed is not what was measured";
        Err(Error::new(Code::InvalidValue, message)
            .at_column(argument)
            .hint("record a copy, or write to it after the step"))
    }
}

/// What is kept of a layer until factors are known: inputs as rows, or gradients of samples where they are small.
#[derive(Debug)]
pub(super) enum Parts {
    Linear { x: Held, dy: Held, method: Option<NormsMethod> },
    Embedding { ids: Held, dy: Held, padding_idx: Option<u32> },
    Norm { scale: Tensor, shift: Option<Tensor> },
    Tied { ids: Held, dy: Held, h: Held, dlogits: Held },
}

/// A layer of a batch with all that is known of it.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) shape: LayerShape,
    pub(super) parts: Parts,
    pub(super) offsets: Held,
    pub(super) samples: usize,
}

/// A matrix of rows.
fn rows(argument: &str, tensor: &Tensor) -> Result<Tensor> {
    if tensor.shape().rank() < 2 {
        return Err(mismatch(argument, format!("expected [samples, .., columns], given {}", tensor.shape())));
    }
    let (rows, columns) = tensor.shape().rows_cols();
    tensor.reshape([rows, columns])
}

fn mismatch(argument: &str, message: String) -> Error {
    Error::new(Code::ShapeMismatch, message).at_column(argument)
}

/// Every operand has a row for each row of the first.
fn same_rows(first: (&str, usize), others: &[(&str, &Tensor)]) -> Result<()> {
    for (argument, tensor) in others {
        let rows = tensor.shape()[0];
        if rows != first.1 {
            return Err(mismatch(
                argument,
                format!("expected {} rows as {} has, given {rows}", first.1, first.0),
            ));
        }
    }
    Ok(())
}

/// Offsets of rows, given or those of samples of equal length.
pub(super) trait Places {
    /// Those of a layer with these, or else of `[samples, ..]` with so many rows.
    fn offsets(&mut self, given: Option<Tensor>, like: &Tensor, rows: usize) -> Result<Tensor>;
}

impl Record {
    pub(super) fn linear(layer: Linear, places: &mut dyn Places) -> Result<Self> {
        let Linear { x, dy, bias, offsets, method } = layer;
        let (xs, dys) = (rows("x", &x)?, rows("dy", &dy)?);
        let ([n, d], [_, p]) = (sizes(&xs), sizes(&dys));
        same_rows(("x", n), &[("dy", &dys)])?;
        let offsets = places.offsets(offsets, &x, n)?;
        let shape = LayerShape { kind: LayerKind::Linear, weight: vec![p, d], bias: bias.then_some(p) };
        let parts = Parts::Linear { x: Held::new(xs), dy: Held::new(dys), method };
        Ok(Self::new(shape, parts, offsets))
    }

    pub(super) fn embedding(layer: Embedding, vocabulary: usize, places: &mut dyn Places) -> Result<Self> {
        let Embedding { ids, dy, padding_idx, offsets, .. } = layer;
        let dys = rows("dy", &dy)?;
        let [n, d] = sizes(&dys);
        let ids = flat("ids", &ids, n)?;
        let offsets = places.offsets(offsets, &dy, n)?;
        let shape = LayerShape { kind: LayerKind::Embedding, weight: vec![vocabulary, d], bias: None };
        let parts = Parts::Embedding { ids: Held::new(ids), dy: Held::new(dys), padding_idx };
        Ok(Self::new(shape, parts, offsets))
    }

    pub(super) fn norm(layer: Norm, places: &mut dyn Places) -> Result<Self> {
        let Norm { xhat, dy, bias, offsets } = layer;
        if xhat.shape() != dy.shape() {
            return Err(mismatch(
                "dy",
                format!("expected {} as xhat has, given {}", xhat.shape(), dy.shape()),
            ));
        }
        let (xs, dys) = (rows("xhat", &xhat)?, rows("dy", &dy)?);
        let [rows, n] = sizes(&xs);
        let offsets = places.offsets(offsets, &xhat, rows)?;
        let parts = Parts::Norm {
            scale: dys.segment_product(Some(&xs), &offsets)?,
            shift: if bias { Some(dys.segment_product(None, &offsets)?) } else { None },
        };
        let shape = LayerShape { kind: LayerKind::Norm, weight: vec![n], bias: bias.then_some(n) };
        Ok(Self::new(shape, parts, offsets))
    }

    pub(super) fn tied(layer: Tied, places: &mut dyn Places) -> Result<Self> {
        let Tied { ids, dy, h, dlogits, bias, offsets } = layer;
        let (dys, hs, logits) = (rows("dy", &dy)?, rows("h", &h)?, rows("dlogits", &dlogits)?);
        let ([n, d], [_, vocabulary]) = (sizes(&hs), sizes(&logits));
        same_rows(("h", n), &[("dy", &dys), ("dlogits", &logits)])?;
        if sizes(&dys)[1] != d {
            return Err(mismatch("dy", format!("expected {d} columns as h has, given {}", sizes(&dys)[1])));
        }
        let ids = flat("ids", &ids, n)?;
        let offsets = places.offsets(offsets, &h, n)?;
        let shape = LayerShape {
            kind: LayerKind::Tied,
            weight: vec![vocabulary, d],
            bias: bias.then_some(vocabulary),
        };
        let [ids, dy, h, dlogits] = [ids, dys, hs, logits].map(Held::new);
        Ok(Self::new(shape, Parts::Tied { ids, dy, h, dlogits }, offsets))
    }

    fn new(shape: LayerShape, parts: Parts, offsets: Tensor) -> Self {
        let samples = offsets.len().saturating_sub(1);
        Self { shape, parts, offsets: Held::new(offsets), samples }
    }

    /// The squares of the norms of the samples' gradients, `[samples]`.
    pub(super) fn squared(&self) -> Result<Tensor> {
        let offsets = &self.offsets.tensor;
        match &self.parts {
            Parts::Linear { x, dy, method } => {
                let options = NormsOptions { bias: self.shape.bias.is_some(), method: *method };
                x.tensor.per_sample_norms(&dy.tensor, offsets, options)
            }
            Parts::Embedding { ids, dy, padding_idx } => {
                let options =
                    EmbeddingOptions { vocabulary: self.shape.weight[0], padding_idx: *padding_idx };
                ids.tensor.embedding_norms(&dy.tensor, offsets, options)
            }
            Parts::Norm { scale, shift } => {
                let total = scale.row_reduce(Reduction::SumSquares)?;
                if let Some(shift) = shift {
                    total.axpy(1.0, &shift.row_reduce(Reduction::SumSquares)?)?;
                }
                Ok(total)
            }
            Parts::Tied { ids, dy, h, dlogits } => {
                /// By how much of both squares their sum is taken as larger: where embedding and head nearly cancel, what
                /// the rounding of three large numbers leaves of their sum must not be too small.
                const CANCELLED: f32 = 1.0 / (1 << 15) as f32;
                let options = NormsOptions { bias: self.shape.bias.is_some(), method: None };
                let total = h.tensor.per_sample_norms(&dlogits.tensor, offsets, options)?;
                let table = EmbeddingOptions { vocabulary: self.shape.weight[0], padding_idx: None };
                total.axpy(1.0, &ids.tensor.embedding_norms(&dy.tensor, offsets, table)?)?;
                let cross = ids.tensor.tied_norms(&dy.tensor, &h.tensor, &dlogits.tensor, offsets)?;
                total.axpby(2.0, &cross, 1.0 + CANCELLED)?;
                Ok(total)
            }
        }
    }

    /// Whether what was measured is still there.
    pub(super) fn unchanged(&self) -> Result<()> {
        let held: &[(&Held, &str)] = match &self.parts {
            Parts::Linear { x, dy, .. } => &[(x, "x"), (dy, "dy")],
            Parts::Embedding { ids, dy, .. } => &[(ids, "ids"), (dy, "dy")],
            // Their sums are nobody else's; offsets were used.
            Parts::Norm { .. } => return Ok(()),
            Parts::Tied { ids, dy, h, dlogits } => {
                &[(ids, "ids"), (dy, "dy"), (h, "h"), (dlogits, "dlogits")]
            }
        };
        held.iter().try_for_each(|(held, argument)| held.check(argument))?;
        self.offsets.check("offsets")
    }

    /// Adds the gradients of the samples, each times its factor, to the sum.
    pub(super) fn add_clipped(&self, factors: &Tensor, gradient: &Gradient) -> Result<()> {
        let offsets = &self.offsets.tensor;
        let Gradient { weight, bias } = gradient;
        match &self.parts {
            Parts::Linear { x, dy, .. } => {
                x.tensor.clipped_grad(&dy.tensor, offsets, factors, weight, bias.as_ref())
            }
            Parts::Embedding { ids, dy, padding_idx } => {
                ids.tensor.clipped_embedding_grad(&dy.tensor, offsets, factors, weight, *padding_idx)
            }
            Parts::Norm { scale, shift } => {
                scale.clipped_sum(factors, weight)?;
                match (shift, bias) {
                    (Some(shift), Some(bias)) => shift.clipped_sum(factors, bias),
                    _ => Ok(()),
                }
            }
            Parts::Tied { ids, dy, h, dlogits } => {
                h.tensor.clipped_grad(&dlogits.tensor, offsets, factors, weight, bias.as_ref())?;
                ids.tensor.clipped_embedding_grad(&dy.tensor, offsets, factors, weight, None)
            }
        }
    }

    /// The inputs of a linear layer, for clipping in one pass.
    pub(super) fn as_linear(&self) -> Option<(&Tensor, &Tensor, &Tensor)> {
        match &self.parts {
            Parts::Linear { x, dy, .. } => Some((&x.tensor, &dy.tensor, &self.offsets.tensor)),
            _ => None,
        }
    }
}

fn sizes(matrix: &Tensor) -> [usize; 2] {
    let (rows, columns) = matrix.shape().rows_cols();
    [rows, columns]
}

/// One id a row.
fn flat(argument: &str, ids: &Tensor, rows: usize) -> Result<Tensor> {
    if ids.len() != rows {
        return Err(mismatch(
            argument,
            format!("expected an id for each of {rows} rows, given {}", ids.shape()),
        ));
    }
    ids.reshape([rows])
}
