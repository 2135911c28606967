use super::{Cost, Operation, Promise, check};
use crate::{DType, Result, Tensor};

/// The Euclidean norm of every column: `out[j] = √Σ_i x[i, j]²`.
///
/// `x` is `[rows, columns]`, `f32`, `bf16` or `f16`; `out` is `[columns]`, `f32`. Squares are added in a fixed order, and
/// neither overflow nor vanish: a norm is finite wherever `f32` has it. A column of no rows has the norm 0, one with an
/// infinity infinity, and one with a NaN is NaN.
#[derive(Debug, Clone)]
pub struct ColumnNorms {
    /// The matrix.
    pub x: Tensor,
    /// One number for each column.
    pub out: Tensor,
}

impl Operation for ColumnNorms {
    const NAME: &'static str = "column_norms";
    const PROMISE: Promise = Promise::Tolerance;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn check(&self) -> Result<()> {
        check::dtype("x", &self.x, &DType::FLOATS)?;
        check::rank("x", &self.x, 2)?;
        check::dtype("out", &self.out, &[DType::F32])?;
        check::shape("out", &self.out, &[self.x.shape().rows_cols().1])
    }

    fn cost(&self) -> Cost {
        Cost { flops: 2 * self.x.len() as u64, bytes: check::bytes(&[&self.x, &self.out]) }
    }
}

impl Tensor {
    /// The norm of every column of a matrix; see [`ColumnNorms`].
    ///
    /// # Errors
    /// [`crate::Code::ShapeMismatch`] unless there are two dimensions; [`crate::Code::DtypeMismatch`];
    /// [`crate::Code::Disposed`].
    pub fn column_norms(&self) -> Result<Tensor> {
        let out = self.sibling(DType::F32, &[self.shape().rows_cols().1])?;
        self.device().run(ColumnNorms { x: self.clone(), out: out.clone() })?;
        Ok(out)
    }
}
