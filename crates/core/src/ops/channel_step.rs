use super::{Cost, Noise, Operation, Promise, check};
use crate::{Code, DType, Error, Result, Tensor};

/// A step along a gradient whose channels are scaled: `param[i, j] ← keep · param[i, j] − step · factors[c] · grad[i, j]`,
/// where channel `c` is the row `i`, or with `columns` the column `j`. That is the step of APOLLO (Zhu et al. 2024, algorithm
/// 1) with the factors of [`super::ChannelFactors`].
///
/// `grad` and `param` are `f32` or `bf16`, `[rows, columns]`, of at most 2³² elements; `factors` is `f32`, one for each
/// channel. Computed in `f32`; a `bf16` is rounded once, to the nearest or with [`Noise`] (the bits of its parameter). An
/// element whose gradient is not finite, or larger than 2⁶⁰, and a channel whose factor is not finite, stay as they are.
#[derive(Debug, Clone)]
pub struct ChannelStep {
    /// The gradient.
    pub grad: Tensor,
    /// Factors of its channels.
    pub factors: Tensor,
    /// What is updated.
    pub param: Tensor,
    /// Whether channels are columns; rows otherwise.
    pub columns: bool,
    /// Factor of the scaled gradient.
    pub step: f32,
    /// Factor of what the parameter was.
    pub keep: f32,
    /// How numbers become `bf16`; to the nearest without.
    pub noise: Option<Noise>,
}

impl ChannelStep {
    /// The element after the step; `factor` is that of its channel times the step.
    #[inline(always)]
    pub fn moved(param: f32, grad: f32, factor: f32, keep: f32) -> f32 {
        if Self::counts(grad, factor) { keep * param - factor * grad } else { param }
    }

    /// Whether an element moves.
    #[inline(always)]
    pub fn counts(grad: f32, factor: f32) -> bool {
        const LARGEST: f32 = (1u64 << 60) as f32;
        (grad.abs() <= LARGEST) & factor.is_finite()
    }
}

impl Operation for ChannelStep {
    const NAME: &'static str = "channel_step";
    const PROMISE: Promise = Promise::Tolerance;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.grad, &self.factors]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        Vec::new()
    }

    fn updates(&self) -> Vec<&Tensor> {
        vec![&self.param]
    }

    fn check(&self) -> Result<()> {
        check::dtype("grad", &self.grad, &[DType::F32, DType::Bf16])?;
        check::dtype("param", &self.param, &[DType::F32, DType::Bf16])?;
        check::rank("param", &self.param, 2)?;
        check::shape("grad", &self.grad, self.param.shape())?;
        if u32::try_from(self.param.len()).is_err() {
            return Err(Error::new(Code::ShapeMismatch, "at most 2^32 elements").at_column("param"));
        }
        let (rows, columns) = self.param.shape().rows_cols();
        check::dtype("factors", &self.factors, &[DType::F32])?;
        check::shape("factors", &self.factors, &[if self.columns { columns } else { rows }])?;
        check::finite("step", self.step)?;
        check::finite("keep", self.keep)
    }

    fn cost(&self) -> Cost {
        let bytes = check::bytes(&[&self.grad, &self.factors, &self.param, &self.param]);
        Cost { flops: 3 * self.param.len() as u64, bytes }
    }
}
