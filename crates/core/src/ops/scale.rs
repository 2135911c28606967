use super::{Cost, Operation, Promise, check};
use crate::{DType, Result, Tensor};

/// `out[i] = alpha · x[i]`.
///
/// Both are `f32`, `bf16`, `f16` (or `f64` on the CPU), of one type and shape; computed in `f32` (`f64`) and rounded
/// once.
#[derive(Debug, Clone)]
pub struct Scale {
    /// What is scaled.
    pub x: Tensor,
    /// The result.
    pub out: Tensor,
    /// The factor.
    pub alpha: f32,
}

impl Operation for Scale {
    const NAME: &'static str = "scale";
    const PROMISE: Promise = Promise::Tolerance;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn check(&self) -> Result<()> {
        check::dtype("x", &self.x, &[DType::F32, DType::Bf16, DType::F16, DType::F64])?;
        check::same_dtype("out", &self.out, "x", self.x.dtype())?;
        check::shape("out", &self.out, self.x.shape())?;
        check::finite("alpha", self.alpha)
    }

    fn cost(&self) -> Cost {
        Cost { flops: self.x.len() as u64, bytes: check::bytes(&[&self.x, &self.out]) }
    }
}

impl Tensor {
    /// `alpha` times this; see [`Scale`].
    ///
    /// # Errors
    /// [`crate::Code::DtypeMismatch`] for integers; [`crate::Code::Disposed`].
    pub fn scale(&self, alpha: f32) -> Result<Tensor> {
        let out = self.sibling(self.dtype(), self.shape())?;
        self.device().run(Scale { x: self.clone(), out: out.clone(), alpha })?;
        Ok(out)
    }
}
