use super::{Cost, Operation, Promise, check};
use crate::{DType, Error, Result, Tensor};

/// Clips every row of `x` to a norm and adds the rows up, as the sum of clipped per-sample gradients of DP-SGD (Abadi
/// et al. 2016): `norms[r] = ‖x[r, ..]‖₂`, `factors[r] = min(1, max_norm / norms[r])` (1 for a row of zeros),
/// `out[j] = Σ_r factors[r] · x[r, j]`.
///
/// `x` is `[rows, columns]`, `f32`, `bf16` or `f16`; the outputs are `f32`. A row whose norm is not finite has the
/// norm NaN or infinity, the factor 0, and takes no part in the sum: what protects somebody fails closed.
#[derive(Debug, Clone)]
pub struct RowNormScale {
    /// Rows to clip.
    pub x: Tensor,
    /// Norm of each row before, `[rows]`.
    pub norms: Tensor,
    /// Factor of each row, `[rows]`.
    pub factors: Tensor,
    /// Sum of the clipped rows, `[columns]`.
    pub out: Tensor,
    /// The norm to clip to, above 0.
    pub max_norm: f32,
}

impl Operation for RowNormScale {
    const NAME: &'static str = "row_norm_scale";
    const PROMISE: Promise = Promise::Tolerance;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.norms, &self.factors, &self.out]
    }

    fn check(&self) -> Result<()> {
        check::dtype("x", &self.x, &DType::FLOATS)?;
        check::rank("x", &self.x, 2)?;
        let (rows, columns) = self.x.shape().rows_cols();
        for (name, out, len) in
            [("norms", &self.norms, rows), ("factors", &self.factors, rows), ("out", &self.out, columns)]
        {
            check::dtype(name, out, &[DType::F32])?;
            check::shape(name, out, &[len])?;
        }
        if !(self.max_norm.is_finite() && self.max_norm > 0.0) {
            return Err(Error::invalid_argument(
                "maxNorm",
                format!("expected a positive number, given {}", self.max_norm),
            ));
        }
        Ok(())
    }

    fn cost(&self) -> Cost {
        let outputs = check::bytes(&[&self.norms, &self.factors, &self.out]);
        Cost { flops: 4 * self.x.len() as u64, bytes: self.x.bytes() as u64 + outputs }
    }
}

/// What [`Tensor::row_norm_scale`] gives.
#[derive(Debug, Clone)]
pub struct RowNormScaleOutput {
    /// Norm of each row before.
    pub norms: Tensor,
    /// Factor of each row.
    pub factors: Tensor,
    /// Sum of the clipped rows.
    pub out: Tensor,
}

impl Tensor {
    /// Rows clipped to a norm, and their sum; see [`RowNormScale`].
    ///
    /// # Errors
    /// [`crate::Code::ShapeMismatch`], [`crate::Code::DtypeMismatch`], [`crate::Code::InvalidArgument`],
    /// [`crate::Code::Disposed`].
    pub fn row_norm_scale(&self, max_norm: f32) -> Result<RowNormScaleOutput> {
        let (rows, columns) = self.shape().rows_cols();
        let norms = self.sibling(DType::F32, &[rows])?;
        let factors = self.sibling(DType::F32, &[rows])?;
        let out = self.sibling(DType::F32, &[columns])?;
        self.device().run(RowNormScale {
            x: self.clone(),
            norms: norms.clone(),
            factors: factors.clone(),
            out: out.clone(),
            max_norm,
        })?;
        Ok(RowNormScaleOutput { norms, factors, out })
    }
}
