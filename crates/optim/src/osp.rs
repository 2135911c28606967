//! Parts of outlier-safe pre-training (OSP, arXiv 2506.19697): what keeps activations free of outliers, and what measures it.
//! Its optimizer is [`crate::Algorithm::Muon`] with [`crate::MuonScaling::Rms`] and `vectors`.

use gristmill_core::ops::{Draw, MatmulOptions, NormKind, NormOptions};
use gristmill_core::{Code, DType, Device, Error, Result, Tensor};

use crate::linalg::orthonormalize;

/// What rows are divided by before a single number scales them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScaleNorm {
    /// Their root mean square, as the released models do.
    #[default]
    Rms,
    /// Their length, as the paper writes it.
    Length,
}

/// How [`ss_norm`] works.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SsNormOptions {
    /// What is added to the mean of squares; 10⁻⁶ by default.
    pub eps: f32,
    /// What rows are divided by.
    pub by: ScaleNorm,
}

impl Default for SsNormOptions {
    fn default() -> Self {
        Self { eps: 1e-6, by: ScaleNorm::Rms }
    }
}

impl SsNormOptions {
    /// What gamma is multiplied by, to be a factor of rows of root mean square 1.
    fn factor(&self, columns: usize) -> f32 {
        match self.by {
            ScaleNorm::Rms => 1.0,
            ScaleNorm::Length => (1.0 / (columns as f64).sqrt()) as f32,
        }
    }

    /// Gamma for each column of a norm.
    fn weight(&self, x: &Tensor, gamma: &Tensor) -> Result<Tensor> {
        let [_, columns] = **x.shape() else {
            return Err(
                Error::new(Code::ShapeMismatch, format!("expected rows, given {}", x.shape())).at_column("x")
            );
        };
        if **gamma.shape() != [1] || gamma.dtype() != DType::F32 {
            let text = format!("expected an f32 tensor of shape [1], given {gamma:?}");
            return Err(Error::new(Code::ShapeMismatch, text).at_column("gamma"));
        }
        // One row of a table of one row, as often as there are columns.
        let ids = x.device().zeros(DType::U32, [columns])?;
        gamma.scale(self.factor(columns))?.reshape([1, 1])?.gather(&ids, None)?.reshape([columns])
    }
}

/// Single-scale normalisation: `γ · x / rms(x)` of every row, or `γ · x / ‖x‖`, with one learnable number `γ` (`[1]`, `f32`)
/// for all columns, so that no column is amplified by itself. `x` is `[rows, columns]`, `f32`, `bf16` or `f16`.
///
/// # Errors
/// [`Code::ShapeMismatch`], [`Code::DtypeMismatch`], [`Code::InvalidArgument`]; those of the device.
pub fn ss_norm(x: &Tensor, gamma: &Tensor, options: SsNormOptions) -> Result<Tensor> {
    let weight = Some(options.weight(x, gamma)?);
    x.norm(NormOptions { eps: options.eps, weight, ..NormOptions::new(NormKind::Rms) })
}

/// What [`ss_norm_grad`] gives.
#[derive(Debug, Clone)]
pub struct SsNormGrad {
    /// At the rows, of their type.
    pub x: Tensor,
    /// At gamma, `[1]`, `f32`.
    pub gamma: Tensor,
}

/// The gradients of [`ss_norm`] from that at its results.
///
/// # Errors
/// As for [`ss_norm`].
pub fn ss_norm_grad(x: &Tensor, gamma: &Tensor, dy: &Tensor, options: SsNormOptions) -> Result<SsNormGrad> {
    let weight = options.weight(x, gamma)?;
    let (rows, columns) = x.shape().rows_cols();
    let out = x.norm_grad(dy, NormKind::Rms, options.eps, Some(&weight))?;
    let sum = out.dots.reshape([1, rows])?.row_reduce(gristmill_core::ops::Reduction::Sum)?;
    Ok(SsNormGrad { x: out.dx, gamma: sum.scale(options.factor(columns))? })
}

/// A learnable projection of embeddings at its start: an orthogonal `d × d` matrix, `f32`, of normal numbers that the seed
/// alone decides (`EmbProj`). Stored as a linear layer has it, so that `h = e Pᵀ`.
///
/// # Errors
/// Those of [`orthonormalize`].
pub fn embedding_projection(device: &Device, d: usize, seed: u64) -> Result<Tensor> {
    orthonormalize(&device.philox([d, d], Draw::Normal, seed, 0, 0)?)
}

/// Where a projection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Projected {
    /// Behind an embedding: `E Pᵀ` gives what embedding and projection gave.
    Embedding,
    /// Before a head: `H P`.
    Head,
}

/// A table `[vocabulary, d]`, `f32` or `bf16`, that does what table and projection `[d, d]` of the same type did, so that a
/// trained model has no projections.
///
/// # Errors
/// [`Code::ShapeMismatch`], [`Code::DtypeMismatch`]; those of the device.
pub fn merge_embedding_projection(table: &Tensor, projection: &Tensor, stands: Projected) -> Result<Tensor> {
    let trans_b = stands == Projected::Embedding;
    table.matmul(projection, MatmulOptions { trans_b, ..Default::default() })
}

/// The published measure of outliers: the mean over all tokens of `max(0, E[x⁴] / std⁴ − 3)`, of hidden states
/// `[tokens, d]`, `f32`, `bf16` or `f16`, of one layer or of several one after the other. Waits for the result. NaN where a
/// token's numbers are all equal or not all finite, or there is no token.
///
/// The paper takes the states of whole sequences. The released script gives the model every token as a sequence of its own,
/// for which no state depends on another token: for numbers that compare with those, make the states so.
///
/// # Errors
/// [`Code::InvalidArgument`] without any states; [`Code::ShapeMismatch`], [`Code::DtypeMismatch`]; those of the device.
pub fn excess_kurtosis(states: &[Tensor]) -> Result<f64> {
    if states.is_empty() {
        return Err(Error::invalid_argument("states", "expected at least one tensor"));
    }
    let (mut sum, mut tokens) = (0.0, 0);
    let all = states.iter().map(|states| states.kurtosis(false)).collect::<Result<Vec<_>>>()?;
    for kurtosis in all {
        for x in kurtosis.to_vec::<f32>()? {
            // Not `max`, which takes a NaN for 0.
            sum += if x < 0.0 { 0.0 } else { f64::from(x) };
            tokens += 1;
        }
    }
    Ok(sum / f64::from(tokens))
}
