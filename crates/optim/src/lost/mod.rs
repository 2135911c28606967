//! Layers whose weight is a product of two thin matrices beside a few full columns ("LOST: low-rank and sparse
//! pre-training", arXiv 2508.02668).

mod file;
mod init;
mod memory;

pub use memory::lost_memory;

use gristmill_core::ops::{ActivationKind, Matmul, MatmulOptions};
use gristmill_core::{Code, DType, Error, Result, Tensor};
use serde::{Deserialize, Serialize};

/// What stands between the two thin matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LostActivation {
    /// `z / (1 + exp(−z))`, as published.
    #[default]
    Silu,
    /// Nothing.
    Identity,
}

/// How the columns that stay whole are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LostChannels {
    /// Those that the components behind the rank weigh most.
    #[default]
    Svd,
    /// By a seeded draw.
    Random,
}

/// How singular vectors of the dense weight are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LostDecomposition {
    /// By an eigendecomposition in `f64` on the host ([`crate::linalg::leading_vectors`]).
    #[default]
    Exact,
    /// By random projections ([`crate::linalg::range_find`]): far faster for large matrices, and close where singular
    /// values fall.
    Randomized,
}

/// How a dense weight becomes a [`LostLinear`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct LostOptions {
    /// Columns of the thin matrices, 1 to the smaller side of the weight; 128 by default.
    pub rank: usize,
    /// Weight of the thin part, from 0 to 1; the sparse one has the rest. 0.5 by default.
    pub gamma: f64,
    /// Share of the columns of the weight that stay whole, above 0 and up to 1; at least one does. 0.05 by default.
    pub sparsity: f64,
    /// What stands between the thin matrices; SiLU by default.
    pub activation: LostActivation,
    /// Components behind the rank by which columns are chosen; 256 by default.
    pub sparse_svd_rank: usize,
    /// How columns are chosen; by those components by default.
    pub channels: LostChannels,
    /// How singular vectors are found; exactly by default.
    pub decomposition: LostDecomposition,
    /// What random columns and projections are drawn with; 0 by default.
    pub seed: u64,
}

impl Default for LostOptions {
    fn default() -> Self {
        Self {
            rank: 128,
            gamma: 0.5,
            sparsity: 0.05,
            activation: LostActivation::Silu,
            sparse_svd_rank: 256,
            channels: LostChannels::Svd,
            decomposition: LostDecomposition::Exact,
            seed: 0,
        }
    }
}

impl LostOptions {
    /// Columns that stay whole of so many: `max(1, ⌊sparsity · columns⌋)`.
    pub fn whole_columns(&self, columns: usize) -> usize {
        ((self.sparsity * columns as f64) as usize).clamp(1, columns.max(1))
    }

    /// Checks the numbers, for a weight of this shape.
    pub(crate) fn check(&self, [rows, columns]: [usize; 2]) -> Result<()> {
        let most = rows.min(columns);
        if self.rank == 0 || self.rank > most {
            return Err(Error::invalid_argument(
                "rank",
                format!("expected 1 to {most}, the smaller side of [{rows}, {columns}], given {}", self.rank),
            ));
        }
        check_gamma(self.gamma)?;
        if !(self.sparsity > 0.0 && self.sparsity <= 1.0) {
            return Err(Error::invalid_argument(
                "sparsity",
                format!("expected a number above 0 and up to 1, given {}", self.sparsity),
            ));
        }
        Ok(())
    }
}

fn check_gamma(gamma: f64) -> Result<()> {
    if (0.0..=1.0).contains(&gamma) {
        return Ok(());
    }
    Err(Error::invalid_argument("gamma", format!("expected a number from 0 to 1, given {gamma}")))
}

/// A linear layer `y = γ · σ(x A) B + (1 − γ) · x_I W_sᵀ + bias`: `A` is `[in, rank]`, `B` `[rank, out]`, `W_s` `[out, k]`
/// the columns `I` of a dense weight, of one type, `f32` or `bf16`; `bias` is `f32`. `I` never changes.
///
/// Its parameters are plain tensors, which an optimizer changes in place. Sums of products are `f32`, each result is rounded
/// once to the type of the layer, and both parts of a sum of two by themselves.
#[derive(Debug, Clone)]
pub struct LostLinear {
    a: Tensor,
    b: Tensor,
    sparse: Tensor,
    index: Tensor,
    bias: Option<Tensor>,
    gamma: f64,
    activation: LostActivation,
}

/// The tensors of a [`LostLinear`].
#[derive(Debug, Clone)]
pub struct LostParts {
    /// `A`, `[in, rank]`.
    pub a: Tensor,
    /// `B`, `[rank, out]`.
    pub b: Tensor,
    /// `W_s`, `[out, k]`.
    pub sparse: Tensor,
    /// `I`, `[k]`, `u32`, ascending.
    pub index: Tensor,
    /// What is added to every row, `[out]`, `f32`; or nothing.
    pub bias: Option<Tensor>,
}

/// What [`LostLinear::forward`] gives.
#[derive(Debug, Clone)]
pub struct LostForward {
    /// The results, `[rows, out]`.
    pub y: Tensor,
    /// `x A`, `[rows, rank]`, for [`LostLinear::backward`].
    pub z: Tensor,
}

/// What [`LostLinear::backward`] gives: gradients of the parameters are `f32`.
#[derive(Debug, Clone)]
pub struct LostGradients {
    /// At the input, `[rows, in]`, of the type of the layer.
    pub x: Tensor,
    /// At `A`.
    pub a: Tensor,
    /// At `B`.
    pub b: Tensor,
    /// At `W_s`.
    pub sparse: Tensor,
    /// At the bias, if there is one.
    pub bias: Option<Tensor>,
}

/// A product of factors that may be stored transposed, as another type or not.
fn product(
    [a, b]: [&Tensor; 2],
    [trans_a, trans_b]: [bool; 2],
    alpha: f64,
    dtype: Option<DType>,
) -> Result<Tensor> {
    a.matmul(b, MatmulOptions { trans_a, trans_b, alpha: alpha as f32, dtype })
}

fn expect(name: &str, tensor: &Tensor, dtype: DType, shape: &[usize]) -> Result<()> {
    if tensor.dtype() != dtype {
        let text = format!("expected {dtype} as the layer has, given {}", tensor.dtype());
        return Err(Error::new(Code::DtypeMismatch, text).at_column(name));
    }
    if **tensor.shape() != *shape {
        let text = format!("expected shape {shape:?}, given {}", tensor.shape());
        return Err(Error::new(Code::ShapeMismatch, text).at_column(name));
    }
    Ok(())
}

impl LostLinear {
    /// A layer of these tensors, which it shares.
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`], [`Code::DtypeMismatch`], [`Code::InvalidArgument`] for a weight outside of 0 to 1. An index
    /// that does not ascend shows at the reads of results.
    pub fn from_parts(parts: LostParts, gamma: f64, activation: LostActivation) -> Result<Self> {
        let LostParts { a, b, sparse, index, bias } = parts;
        check_gamma(gamma)?;
        if ![DType::F32, DType::Bf16].contains(&a.dtype()) {
            return Err(Error::new(
                Code::DtypeMismatch,
                format!("expected f32 or bf16, given {}", a.dtype()),
            )
            .at_column("a"));
        }
        let (rank, out, k) = (a.shape().last(), b.shape().last(), index.len());
        let (Some(&rank), Some(&out)) = (rank, out) else {
            return Err(Error::new(Code::ShapeMismatch, "expected matrices, given a scalar").at_column("a"));
        };
        expect("a", &a, a.dtype(), &[a.shape()[0], rank])?;
        expect("b", &b, a.dtype(), &[rank, out])?;
        expect("sparse", &sparse, a.dtype(), &[out, k])?;
        expect("index", &index, DType::U32, &[k])?;
        if let Some(bias) = &bias {
            expect("bias", bias, DType::F32, &[out])?;
        }
        Ok(Self { a, b, sparse, index, bias, gamma, activation })
    }

    /// Its tensors.
    pub fn parts(&self) -> LostParts {
        LostParts {
            a: self.a.clone(),
            b: self.b.clone(),
            sparse: self.sparse.clone(),
            index: self.index.clone(),
            bias: self.bias.clone(),
        }
    }

    /// Weight of the thin part.
    pub fn gamma(&self) -> f64 {
        self.gamma
    }

    /// What stands between the thin matrices.
    pub fn activation(&self) -> LostActivation {
        self.activation
    }

    fn input(&self, name: &str, x: &Tensor, columns: usize) -> Result<usize> {
        let rows = x.shape().first().copied().unwrap_or(0);
        expect(name, x, self.a.dtype(), &[rows, columns])?;
        Ok(rows)
    }

    /// The results for inputs `[rows, in]`, of the type of the layer.
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`], [`Code::DtypeMismatch`]; those of the device.
    pub fn forward(&self, x: &Tensor) -> Result<LostForward> {
        self.input("x", x, self.a.shape()[0])?;
        let z = product([x, &self.a], [false; 2], 1.0, None)?;
        let y = product([&self.active(&z)?, &self.b], [false; 2], self.gamma, None)?;
        add(&y, [&x.gather_columns(&self.index)?, &self.sparse], [false, true], 1.0 - self.gamma)?;
        if let Some(bias) = &self.bias {
            y.bias_add(bias)?;
        }
        Ok(LostForward { y, z })
    }

    /// `σ(z)`.
    fn active(&self, z: &Tensor) -> Result<Tensor> {
        match self.activation {
            LostActivation::Silu => z.activation(ActivationKind::Silu, Default::default()),
            LostActivation::Identity => Ok(z.clone()),
        }
    }

    /// The gradients for inputs `x`, what [`forward`](Self::forward) made of them, `z`, and the gradient at its results,
    /// `dy`, `[rows, out]`:
    ///
    /// `dB = γ σ(Z)ᵀ dY`, `dZ = γ (dY Bᵀ) ⊙ σ'(Z)`, `dA = xᵀ dZ`, `dW_s = (1 − γ) dYᵀ x_I`, `dbias = Σ_r dY`, and
    /// `dx = dZ Aᵀ`, with `(1 − γ) dY W_s` added to its columns `I`.
    ///
    /// # Errors
    /// As for [`forward`](Self::forward).
    pub fn backward(&self, x: &Tensor, z: &Tensor, dy: &Tensor) -> Result<LostGradients> {
        let rows = self.input("x", x, self.a.shape()[0])?;
        let (dtype, [rank, out]) = (self.a.dtype(), [self.b.shape()[0], self.b.shape()[1]]);
        expect("z", z, dtype, &[rows, rank])?;
        expect("dy", dy, dtype, &[rows, out])?;
        let (gamma, rest) = (self.gamma, 1.0 - self.gamma);
        let f32 = Some(DType::F32);
        let b = product([&self.active(z)?, dy], [true, false], gamma, f32)?;
        let dh = product([dy, &self.b], [false, true], gamma, None)?;
        let dz = match self.activation {
            LostActivation::Silu => z.activation_grad(ActivationKind::Silu, &dh)?,
            LostActivation::Identity => dh,
        };
        let a = product([x, &dz], [true, false], 1.0, f32)?;
        let sparse = product([dy, &x.gather_columns(&self.index)?], [true, false], rest, f32)?;
        let dx = product([&dz, &self.a], [false, true], 1.0, None)?;
        dx.scatter_columns(&product([dy, &self.sparse], [false; 2], rest, None)?, &self.index)?;
        let sum = || -> Result<Tensor> {
            let all = x.device().tensor(vec![0, rows as u32], [2])?;
            dy.segment_product(None, &all)?.reshape([out])
        };
        let bias = self.bias.is_some().then(sum).transpose()?;
        Ok(LostGradients { x: dx, a, b, sparse, bias })
    }
}

/// Adds a product to what is there.
fn add(out: &Tensor, [a, b]: [&Tensor; 2], [trans_a, trans_b]: [bool; 2], alpha: f64) -> Result<()> {
    let (a, b, out) = (a.clone(), b.clone(), out.clone());
    let device = out.device().clone();
    device.run(Matmul { a, b, out, trans_a, trans_b, alpha: alpha as f32, beta: 1.0 })
}
