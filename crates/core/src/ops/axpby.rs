use super::{Cost, Operation, Promise, check};
use crate::{DType, Result, Tensor};

/// `y[i] = alpha · x[i] + beta · y[i]`, in place.
///
/// `x` and `y` are `f32`, `bf16`, `f16` (or `f64` on the CPU), not necessarily both the same, in one shape. Computed
/// in `f32` (`f64` when either is) and rounded once. With `beta` 0 the result is `alpha · x` only for finite `y`.
#[derive(Debug, Clone)]
pub struct Axpby {
    /// What is added.
    pub x: Tensor,
    /// What is updated.
    pub y: Tensor,
    /// Factor of `x`.
    pub alpha: f32,
    /// Factor of `y`.
    pub beta: f32,
}

impl Operation for Axpby {
    const NAME: &'static str = "axpby";
    const PROMISE: Promise = Promise::Tolerance;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        Vec::new()
    }

    fn updates(&self) -> Vec<&Tensor> {
        vec![&self.y]
    }

    fn check(&self) -> Result<()> {
        let floats = [DType::F32, DType::Bf16, DType::F16, DType::F64];
        check::dtype("x", &self.x, &floats)?;
        check::dtype("y", &self.y, &floats)?;
        check::shape("x", &self.x, self.y.shape())?;
        check::finite("alpha", self.alpha)?;
        check::finite("beta", self.beta)
    }

    fn cost(&self) -> Cost {
        Cost { flops: 3 * self.y.len() as u64, bytes: check::bytes(&[&self.x, &self.y, &self.y]) }
    }
}

impl Tensor {
    /// Adds in place: this tensor becomes `alpha · x + beta · this`; see [`Axpby`].
    ///
    /// # Errors
    /// [`crate::Code::ShapeMismatch`], [`crate::Code::DtypeMismatch`], [`crate::Code::Disposed`].
    pub fn axpby(&self, alpha: f32, x: &Tensor, beta: f32) -> Result<()> {
        self.device().run(Axpby { x: x.clone(), y: self.clone(), alpha, beta })
    }

    /// Adds in place: this tensor becomes `this + alpha · x`.
    ///
    /// # Errors
    /// As [`axpby`](Self::axpby).
    pub fn axpy(&self, alpha: f32, x: &Tensor) -> Result<()> {
        self.axpby(alpha, x, 1.0)
    }
}
