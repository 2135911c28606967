use super::{Cost, Operation, Promise, check};
use crate::{DType, Result, Tensor};

/// A function of single numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActivationKind {
    /// `x · Φ(x)`, with the distribution function of the standard normal (Hendrycks and Gimpel 2016).
    Gelu,
    /// The same by `Φ(x) ≈ (1 + tanh(sqrt(2/π) · (x + 0.044715 · x³))) / 2`, as GPT-2 was trained with.
    GeluTanh,
    /// `x / (1 + exp(−x))`.
    Silu,
}

impl ActivationKind {
    /// All of them.
    pub const ALL: [ActivationKind; 3] =
        [ActivationKind::Gelu, ActivationKind::GeluTanh, ActivationKind::Silu];

    /// The name in options and cases.
    pub const fn name(self) -> &'static str {
        match self {
            ActivationKind::Gelu => "gelu",
            ActivationKind::GeluTanh => "gelu-tanh",
            ActivationKind::Silu => "silu",
        }
    }
}

/// `out = f(x + bias) · times`; with `silu` and a second projection as `times`, SwiGLU (Shazeer 2020).
///
/// `x`, `times` and `out` are `[rows, columns]` of one type, `f32`, `bf16` or `f16`; `bias` is `f32`, 0 where there is
/// none, as `times` is 1. Computed in `f32` and rounded once. At negative infinity `f` is its limit, 0.
#[derive(Debug, Clone)]
pub struct Activation {
    /// Arguments, `[rows, columns]`.
    pub x: Tensor,
    /// What is added to each column, `[columns]`.
    pub bias: Option<Tensor>,
    /// Factors, `[rows, columns]`.
    pub times: Option<Tensor>,
    /// Results, `[rows, columns]`.
    pub out: Tensor,
    /// The function.
    pub kind: ActivationKind,
}

impl Operation for Activation {
    const NAME: &'static str = "activation";
    const PROMISE: Promise = Promise::Tolerance;

    fn inputs(&self) -> Vec<&Tensor> {
        [&self.x].into_iter().chain(&self.bias).chain(&self.times).collect()
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn check(&self) -> Result<()> {
        check::dtype("x", &self.x, &DType::FLOATS)?;
        check::rank("x", &self.x, 2)?;
        check::columns("bias", self.bias.as_ref(), self.x.shape().rows_cols().1)?;
        if let Some(times) = &self.times {
            check::same_dtype("times", times, "x", self.x.dtype())?;
            check::shape("times", times, self.x.shape())?;
        }
        check::same_dtype("out", &self.out, "x", self.x.dtype())?;
        check::shape("out", &self.out, self.x.shape())
    }

    fn cost(&self) -> Cost {
        let bytes = check::bytes(&[self.inputs(), self.outputs()].concat());
        Cost { flops: 20 * self.x.len() as u64, bytes }
    }
}

/// What [`Tensor::activation`] does beside the function.
#[derive(Debug, Clone, Default)]
pub struct ActivationOptions {
    /// What is added to each column before; default nothing.
    pub bias: Option<Tensor>,
    /// Factors of the results; default none.
    pub times: Option<Tensor>,
}

impl Tensor {
    /// A function of every element; see [`Activation`].
    ///
    /// # Errors
    /// [`crate::Code::ShapeMismatch`], [`crate::Code::DtypeMismatch`], [`crate::Code::Disposed`].
    pub fn activation(&self, kind: ActivationKind, options: ActivationOptions) -> Result<Tensor> {
        let ActivationOptions { bias, times } = options;
        let out = self.sibling(self.dtype(), self.shape())?;
        self.device().run(Activation { x: self.clone(), bias, times, out: out.clone(), kind })?;
        Ok(out)
    }
}
