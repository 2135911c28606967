use super::row_reduce::rows;
use super::{Cost, Operation, Promise, check};
use crate::{DType, Result, Tensor};

/// For every row of `x`, its maximum and its log-sum-exp: `max[r] = max_j x[r, j]` and
/// `lse[r] = max[r] + ln Σ_j exp(x[r, j] − max[r])`; so `softmax(x)[r, j] = exp(x[r, j] − lse[r])`.
///
/// `x` is `f32`, `bf16` or `f16`; both outputs are `f32` in the shape of `x` without its last dimension. A row with a
/// NaN gives NaN twice; one of negative infinities alone, or of no columns, gives negative infinity twice.
#[derive(Debug, Clone)]
pub struct SoftmaxStats {
    /// Logits.
    pub x: Tensor,
    /// Maximum of each row.
    pub max: Tensor,
    /// Log-sum-exp of each row.
    pub lse: Tensor,
}

impl Operation for SoftmaxStats {
    const NAME: &'static str = "softmax_stats";
    const PROMISE: Promise = Promise::Tolerance;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.max, &self.lse]
    }

    fn check(&self) -> Result<()> {
        check::dtype("x", &self.x, &DType::FLOATS)?;
        for (name, out) in [("max", &self.max), ("lse", &self.lse)] {
            check::dtype(name, out, &[DType::F32])?;
            check::shape(name, out, rows(&self.x))?;
        }
        Ok(())
    }

    fn cost(&self) -> Cost {
        Cost { flops: 4 * self.x.len() as u64, bytes: check::bytes(&[&self.x, &self.max, &self.lse]) }
    }
}

/// What [`Tensor::softmax_stats`] gives.
#[derive(Debug, Clone)]
pub struct SoftmaxStatsOutput {
    /// Maximum of each row.
    pub max: Tensor,
    /// Log-sum-exp of each row.
    pub lse: Tensor,
}

impl Tensor {
    /// Maximum and log-sum-exp of every row; see [`SoftmaxStats`].
    ///
    /// # Errors
    /// [`crate::Code::DtypeMismatch`], [`crate::Code::Disposed`].
    pub fn softmax_stats(&self) -> Result<SoftmaxStatsOutput> {
        let max = self.sibling(DType::F32, rows(self))?;
        let lse = self.sibling(DType::F32, rows(self))?;
        self.device().run(SoftmaxStats { x: self.clone(), max: max.clone(), lse: lse.clone() })?;
        Ok(SoftmaxStatsOutput { max, lse })
    }
}
