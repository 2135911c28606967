use super::{ActivationKind, Cost, Operation, Promise, check};
use crate::{DType, Result, Tensor};

/// The gradient of [`super::Activation`] without bias and factors: `out = dy · f'(x)`, with
///
/// - `silu`: `f'(x) = σ(x) · (1 + x · (1 − σ(x)))`, where `σ(x) = 1 / (1 + exp(−x))`;
/// - `gelu`: `f'(x) = Φ(x) + x · φ(x)`;
/// - `gelu-tanh`: `f'(x) = σ(2u) + x · σ(2u) · (1 − σ(2u)) · 2u'`, where `u = sqrt(2/π) · (x + 0.044715 · x³)`.
///
/// `x`, `dy` and `out` are `[rows, columns]` of one type, `f32`, `bf16` or `f16`. Computed in `f32` and rounded once. At the
/// infinities `f'` is its limit, 0 and 1; `dy` is finite or NaN.
#[derive(Debug, Clone)]
pub struct ActivationGrad {
    /// Arguments of the function, `[rows, columns]`.
    pub x: Tensor,
    /// Gradient at its results, `[rows, columns]`.
    pub dy: Tensor,
    /// Gradient at its arguments, `[rows, columns]`.
    pub out: Tensor,
    /// The function.
    pub kind: ActivationKind,
}

impl Operation for ActivationGrad {
    const NAME: &'static str = "activation_grad";
    const PROMISE: Promise = Promise::Tolerance;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x, &self.dy]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn check(&self) -> Result<()> {
        check::dtype("x", &self.x, &DType::FLOATS)?;
        check::rank("x", &self.x, 2)?;
        for (name, tensor) in [("dy", &self.dy), ("out", &self.out)] {
            check::same_dtype(name, tensor, "x", self.x.dtype())?;
            check::shape(name, tensor, self.x.shape())?;
        }
        Ok(())
    }

    fn cost(&self) -> Cost {
        Cost { flops: 25 * self.x.len() as u64, bytes: check::bytes(&[&self.x, &self.dy, &self.out]) }
    }
}

impl Tensor {
    /// The gradient at these arguments of a function of every element, from that at its results; see [`ActivationGrad`].
    ///
    /// # Errors
    /// [`crate::Code::ShapeMismatch`], [`crate::Code::DtypeMismatch`], [`crate::Code::Disposed`].
    pub fn activation_grad(&self, kind: ActivationKind, dy: &Tensor) -> Result<Tensor> {
        let out = self.sibling(self.dtype(), self.shape())?;
        self.device().run(ActivationGrad { x: self.clone(), dy: dy.clone(), out: out.clone(), kind })?;
        Ok(out)
    }
}
