use super::{Cost, Operation, Promise, Reduction, check};
use crate::{DType, Result, Tensor};

/// `out[r] = reduction of x[r, ..]` for a tensor seen as rows: the last dimension is reduced.
///
/// `x` is `f32`, `bf16`, `f16` (or `f64` on the CPU); `out` is `f32` (`f64`) in the shape of `x` without its last
/// dimension. Sums are added in `f32` or better, in a fixed order.
#[derive(Debug, Clone)]
pub struct RowReduce {
    /// Elements to reduce.
    pub x: Tensor,
    /// One number for each row.
    pub out: Tensor,
    /// The rule.
    pub reduction: Reduction,
}

impl Operation for RowReduce {
    const NAME: &'static str = "row_reduce";
    const PROMISE: Promise = Promise::Tolerance;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn promise(&self) -> Promise {
        if self.reduction == Reduction::Max { Promise::Exact } else { Promise::Tolerance }
    }

    fn check(&self) -> Result<()> {
        check::dtype("x", &self.x, &[DType::F32, DType::Bf16, DType::F16, DType::F64])?;
        check::same_dtype("out", &self.out, "the sum", sum_dtype(&self.x))?;
        check::shape("out", &self.out, rows(&self.x))
    }

    fn cost(&self) -> Cost {
        Cost { flops: self.x.len() as u64, bytes: check::bytes(&[&self.x, &self.out]) }
    }
}

/// The type in which sums of a tensor are given.
pub(super) fn sum_dtype(x: &Tensor) -> DType {
    if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 }
}

/// The shape without its last dimension.
pub(super) fn rows(x: &Tensor) -> &[usize] {
    &x.shape()[..x.shape().rank().saturating_sub(1)]
}

impl Tensor {
    /// A sum, maximum or sum of squares of every row; see [`RowReduce`].
    ///
    /// # Errors
    /// [`crate::Code::DtypeMismatch`] for integers; [`crate::Code::Disposed`].
    pub fn row_reduce(&self, reduction: Reduction) -> Result<Tensor> {
        let out = self.sibling(sum_dtype(self), rows(self))?;
        self.device().run(RowReduce { x: self.clone(), out: out.clone(), reduction })?;
        Ok(out)
    }
}
