use super::linear_grad::{Layer, LinearSizes, gradients, of_samples};
use super::{Contract, Cost, Operation, Promise, check};
use crate::{Result, Tensor};

/// The sum of the gradients that samples have for a linear layer, each scaled by its factor (Bu et al. 2023), added to
/// what is there: with the rows of `x` and `dy` as in [`PerSampleNorms`](super::PerSampleNorms),
///
/// `grad += Σ_b factors[b] · dY_bᵀX_b` and `bias += Σ_b factors[b] · Σ_t dY_t`.
///
/// `x` is `[rows, d]`, `dy` is `[rows, p]`, both `f32`, `bf16` or `f16`; `factors` is `[samples]`, `grad` is `[p, d]` and
/// `bias` is `[p]`, all `f32`. Factors are applied in `f32` to the numbers that the norms were measured from, never
/// rounded to their type. A sample of factor 0 adds nothing, whatever its rows are. Offsets that do not ascend or lead
/// beyond the rows are a fault of the sample.
#[derive(Debug, Clone)]
pub struct ClippedGrad {
    /// Inputs of the layer, `[rows, d]`.
    pub x: Tensor,
    /// Gradients of its outputs, `[rows, p]`.
    pub dy: Tensor,
    /// Where samples begin and end, `[samples + 1]`.
    pub offsets: Tensor,
    /// The factor of each sample, `[samples]`.
    pub factors: Tensor,
    /// What the sum is added to, `[p, d]`.
    pub grad: Tensor,
    /// The same of the bias, `[p]`.
    pub bias: Option<Tensor>,
}

impl ClippedGrad {
    fn layer(&self) -> Layer<'_> {
        Layer { x: &self.x, dy: &self.dy, offsets: &self.offsets }
    }

    /// The sizes of the layer.
    pub fn sizes(&self) -> LinearSizes {
        self.layer().sizes()
    }
}

impl Operation for ClippedGrad {
    const NAME: &'static str = "clipped_grad";
    const PROMISE: Promise = Promise::Tolerance;
    const MAY_FAULT: bool = true;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x, &self.dy, &self.offsets, &self.factors]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        Vec::new()
    }

    fn updates(&self) -> Vec<&Tensor> {
        [&self.grad].into_iter().chain(&self.bias).collect()
    }

    fn check(&self) -> Result<()> {
        let sizes = self.layer().check()?;
        of_samples("factors", &self.factors, sizes.samples)?;
        gradients(&self.grad, self.bias.as_ref(), sizes)
    }

    fn cost(&self) -> Cost {
        let again = check::bytes(&self.updates());
        let bytes = check::bytes(&[self.inputs(), self.updates()].concat()) + again;
        Cost { flops: self.sizes().gradient_flops(), bytes }
    }

    fn contract(&self) -> Contract {
        Contract { bound: self.sizes().rows, broken: check::offsets_fault }
    }
}

impl Tensor {
    /// Adds the scaled gradients that samples have for a linear layer with these inputs to `grad`, and to that of its
    /// bias; see [`ClippedGrad`].
    ///
    /// # Errors
    /// [`crate::Code::ShapeMismatch`], [`crate::Code::DtypeMismatch`], [`crate::Code::Disposed`]; offsets that do not
    /// ascend show at the read of what was added to, as [`crate::Code::InvalidValue`] with their sample.
    pub fn clipped_grad(
        &self,
        dy: &Tensor,
        offsets: &Tensor,
        factors: &Tensor,
        grad: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<()> {
        self.device().run(ClippedGrad {
            x: self.clone(),
            dy: dy.clone(),
            offsets: offsets.clone(),
            factors: factors.clone(),
            grad: grad.clone(),
            bias: bias.cloned(),
        })
    }
}
