use super::{Cost, Operation, Promise, check};
use crate::{DType, Result, Tensor};

/// `x[r, j] = x[r, j] + bias[j]`, in place.
///
/// `x` is `[rows, columns]`, `f32`, `bf16` or `f16`; `bias` is `f32`. Computed in `f32` and rounded once.
#[derive(Debug, Clone)]
pub struct BiasAdd {
    /// What is updated, `[rows, columns]`.
    pub x: Tensor,
    /// What is added to each column, `[columns]`.
    pub bias: Tensor,
}

impl Operation for BiasAdd {
    const NAME: &'static str = "bias_add";
    const PROMISE: Promise = Promise::Tolerance;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.bias]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        Vec::new()
    }

    fn updates(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    fn check(&self) -> Result<()> {
        check::dtype("x", &self.x, &DType::FLOATS)?;
        check::rank("x", &self.x, 2)?;
        check::columns("bias", Some(&self.bias), self.x.shape().rows_cols().1)
    }

    fn cost(&self) -> Cost {
        Cost { flops: self.x.len() as u64, bytes: check::bytes(&[&self.x, &self.x, &self.bias]) }
    }
}

impl Tensor {
    /// Adds a number to every column of this tensor, in place; see [`BiasAdd`].
    ///
    /// # Errors
    /// [`crate::Code::ShapeMismatch`], [`crate::Code::DtypeMismatch`], [`crate::Code::Disposed`].
    pub fn bias_add(&self, bias: &Tensor) -> Result<()> {
        self.device().run(BiasAdd { x: self.clone(), bias: bias.clone() })
    }
}
