use super::linear_grad::{Layer, LinearSizes, of_samples};
use super::{Contract, Cost, Op, Operation, Promise, check};
use crate::device::Support;
use crate::{DType, Result, Tensor};

/// How the norm of a sample's gradient is found without keeping the gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NormsMethod {
    /// The gradient is made a tile at a time, and each tile squared once it is whole: `2 · T · d · p` operations.
    Direct,
    /// `‖dYᵀX‖² = Σ_{t,s} (XXᵀ)_{ts} (dYdYᵀ)_{ts}` (Goodfellow 2015; Li et al. 2022), of which the half with `s ≤ t` is made: `T² · (d + p)`
    /// operations.
    Gram,
}

impl NormsMethod {
    /// All of them.
    pub const ALL: [NormsMethod; 2] = [NormsMethod::Direct, NormsMethod::Gram];

    /// The name in options and cases.
    pub const fn name(self) -> &'static str {
        match self {
            NormsMethod::Direct => "direct",
            NormsMethod::Gram => "gram",
        }
    }

    /// The one of fewer operations: Gram iff `T < 2 · d · p / (d + p)`, with the mean for `T`, because the lengths lie
    /// on the device. Samples of very different lengths make Gram dearer than that, as the mean of squares is above the
    /// square of the mean: then name the method.
    pub fn fewest_operations(sizes: LinearSizes) -> Self {
        let LinearSizes { d, p, .. } = sizes;
        let gram = sizes.length() as u128 * ((d + p) as u128) < 2 * d as u128 * p as u128;
        if gram { NormsMethod::Gram } else { NormsMethod::Direct }
    }
}

/// The square of the norm of every sample's gradient of a linear layer `Y = XWᵀ + b` (Goodfellow 2015), whose rows of
/// input `X` and of output gradient `dY` lie one behind the other: for the rows of sample `b`,
///
/// `out[b] = ‖dY_bᵀX_b‖_F²`, and with `bias` plus `‖Σ_t dY_t‖²`.
///
/// `x` is `[rows, d]`, `dy` is `[rows, p]`, both `f32`, `bf16` or `f16`; sums are in `f32` or better. `offsets` is `u32`
/// or `i32`, one more than there are samples, and ascends; rows before the first and behind the last belong to nobody.
/// A sample without rows has 0; one with a NaN or an infinity has NaN or infinity, and no other depends on it. Offsets
/// that do not ascend or lead beyond the rows are a fault of the sample.
///
/// With [`NormsMethod::Gram`], large numbers that the rows of a sample have in common would cancel, and the rest would
/// be too small, which breaks the promise of clipping. So it is made of `X − 1μᵀ` and `dY − 1νᵀ`, with `μ` and `ν` about
/// the means: for `u = Σ_t X_t` and `q = Σ_t (dY_t − ν)`, whatever `μ` and `ν` are,
///
/// `dYᵀX = ν uᵀ + q μᵀ + (dY − 1νᵀ)ᵀ(X − 1μᵀ)`,
///
/// of which all but the last term cost little. A sample whose terms still cancel is made directly.
#[derive(Debug, Clone)]
pub struct PerSampleNorms {
    /// Inputs of the layer, `[rows, d]`.
    pub x: Tensor,
    /// Gradients of its outputs, `[rows, p]`.
    pub dy: Tensor,
    /// Where samples begin and end, `[samples + 1]`.
    pub offsets: Tensor,
    /// The square of each norm, `[samples]`, `f32`.
    pub out: Tensor,
    /// Whether the layer has a bias.
    pub bias: bool,
    /// How to find it.
    pub method: NormsMethod,
}

impl PerSampleNorms {
    fn layer(&self) -> Layer<'_> {
        Layer { x: &self.x, dy: &self.dy, offsets: &self.offsets }
    }

    /// The sizes of the layer.
    pub fn sizes(&self) -> LinearSizes {
        self.layer().sizes()
    }
}

impl Operation for PerSampleNorms {
    const NAME: &'static str = "per_sample_norms";
    const PROMISE: Promise = Promise::Tolerance;
    const MAY_FAULT: bool = true;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x, &self.dy, &self.offsets]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn check(&self) -> Result<()> {
        let sizes = self.layer().check()?;
        of_samples("out", &self.out, sizes.samples)
    }

    fn cost(&self) -> Cost {
        let sizes = self.sizes();
        let flops = match self.method {
            NormsMethod::Direct => sizes.gradient_flops(),
            NormsMethod::Gram => (sizes.rows * sizes.length()) as u64 * (sizes.d + sizes.p) as u64,
        };
        Cost { flops, bytes: check::bytes(&[self.inputs(), self.outputs()].concat()) }
    }

    fn contract(&self) -> Contract {
        Contract { bound: self.sizes().rows, broken: check::offsets_fault }
    }
}

/// What [`Tensor::per_sample_norms`] takes into account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NormsOptions {
    /// Whether the layer has a bias; default `false`.
    pub bias: bool,
    /// How to find the norms; default [`NormsMethod::fewest_operations`], or the other where a device has not that.
    pub method: Option<NormsMethod>,
}

impl Tensor {
    /// Squares of the norms of the gradients that samples have for a linear layer with these inputs; see
    /// [`PerSampleNorms`].
    ///
    /// # Errors
    /// [`crate::Code::ShapeMismatch`], [`crate::Code::DtypeMismatch`], [`crate::Code::Disposed`]; offsets that do not
    /// ascend show at the read, as [`crate::Code::InvalidValue`] with their sample.
    pub fn per_sample_norms(&self, dy: &Tensor, offsets: &Tensor, options: NormsOptions) -> Result<Tensor> {
        let layer = Layer { x: self, dy, offsets };
        let sizes = layer.check().map_err(|e| e.in_op(PerSampleNorms::NAME))?;
        let out = self.sibling(DType::F32, &[sizes.samples])?;
        let mut op = PerSampleNorms {
            x: self.clone(),
            dy: dy.clone(),
            offsets: offsets.clone(),
            out: out.clone(),
            bias: options.bias,
            method: options.method.unwrap_or_else(|| NormsMethod::fewest_operations(sizes)),
        };
        if options.method.is_none() && self.device().info().support(&Op::from(op.clone())) != Support::Native
        {
            op.method = NormsMethod::Direct;
        }
        self.device().run(op)?;
        Ok(out)
    }
}
