use super::{Cost, Operation, Promise, check};
use crate::{DType, Result, Tensor};

/// Adds up scaled rows: `out[j] += Σ_s factors[s] · rows[s, j]`, such as the clipped sum of per-sample gradients that
/// are in memory. A factor of 0 adds nothing, whatever its row holds.
///
/// All are `f32`. Sums are in `f32` or better, in a fixed order.
#[derive(Debug, Clone)]
pub struct ClippedSum {
    /// A row for each sample, `[samples, n]`.
    pub rows: Tensor,
    /// A factor for each, `[samples]`.
    pub factors: Tensor,
    /// What is added to, `[n]`.
    pub out: Tensor,
}

impl Operation for ClippedSum {
    const NAME: &'static str = "clipped_sum";
    const PROMISE: Promise = Promise::Tolerance;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.rows, &self.factors]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        Vec::new()
    }

    fn updates(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn check(&self) -> Result<()> {
        check::rank("rows", &self.rows, 2)?;
        let (samples, n) = self.rows.shape().rows_cols();
        for (name, tensor, shape) in [
            ("rows", &self.rows, &[samples, n][..]),
            ("factors", &self.factors, &[samples]),
            ("out", &self.out, &[n]),
        ] {
            check::dtype(name, tensor, &[DType::F32])?;
            check::shape(name, tensor, shape)?;
        }
        Ok(())
    }

    fn cost(&self) -> Cost {
        let bytes = check::bytes(&self.inputs()) + 2 * self.out.bytes() as u64;
        Cost { flops: 2 * self.rows.len() as u64, bytes }
    }
}

impl Tensor {
    /// Adds these rows, scaled, to `out`; see [`ClippedSum`].
    ///
    /// # Errors
    /// [`crate::Code::ShapeMismatch`], [`crate::Code::DtypeMismatch`], [`crate::Code::Disposed`].
    pub fn clipped_sum(&self, factors: &Tensor, out: &Tensor) -> Result<()> {
        self.device().run(ClippedSum { rows: self.clone(), factors: factors.clone(), out: out.clone() })
    }
}
