use super::linear_grad::{self, Layer, LinearSizes, gradients, of_samples};
use super::{ClipRule, Contract, Cost, NormsMethod, Op, Operation, Promise, check};
use crate::device::{DeviceKind, Support};
use crate::{DType, Error, Result, Tensor};

/// Whether each sample's gradient is made once, or twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClipPath {
    /// A sample's gradient is made once, measured while it is made, kept, and added when its factor is known.
    Fused,
    /// First the norms, then the scaled gradients, as [`PerSampleNorms`](super::PerSampleNorms) and
    /// [`ClippedGrad`](super::ClippedGrad) do it.
    TwoPhase,
}

impl ClipPath {
    /// All of them.
    pub const ALL: [ClipPath; 2] = [ClipPath::Fused, ClipPath::TwoPhase];

    /// The name in options and cases.
    pub const fn name(self) -> &'static str {
        match self {
            ClipPath::Fused => "fused",
            ClipPath::TwoPhase => "two-phase",
        }
    }

    /// Rows of a sample from which its gradient is worth keeping on a CPU: with fewer, reading and writing `[p, d]` takes
    /// longer than the norm by [`NormsMethod::Gram`].
    const ROWS: usize = 112;

    /// Operations of a norm, for each element of the gradient, from which the gradient is worth keeping on a GPU: as many
    /// as are done while an element is written to the second-level cache and read again. Of the data sheets of an H100,
    /// 450 TFLOP/s of products that are not asynchronous and 5.5 TB/s; not measured.
    const OPERATIONS: u128 = 650;

    /// The faster one, where a device has both.
    pub fn fastest(sizes: LinearSizes, kind: DeviceKind) -> Self {
        let length = sizes.length() as u128;
        let pays = match kind {
            DeviceKind::Cpu => sizes.length() >= Self::ROWS,
            _ => {
                let (d, p) = (sizes.d as u128, sizes.p as u128);
                // Of the cheaper method.
                (length * length * (d + p)).min(2 * length * d * p) > Self::OPERATIONS * d * p
            }
        };
        if pays { ClipPath::Fused } else { ClipPath::TwoPhase }
    }
}

/// Clips the gradient that each sample has for one linear layer, and adds the sum to what is there: with the rows of `x`
/// and `dy` as in [`PerSampleNorms`](super::PerSampleNorms),
///
/// `norms[b]² = ‖dY_bᵀX_b‖_F²`, and with a bias plus `‖Σ_t dY_t‖²`; `factors[b]` is that of [`ClipRule::factor`];
/// `grad += Σ_b factors[b] · dY_bᵀX_b` and `bias += Σ_b factors[b] · Σ_t dY_t`.
///
/// `x` is `[rows, d]`, `dy` is `[rows, p]`, both `f32`, `bf16` or `f16`; `weights`, `norms` and `factors` are
/// `[samples]`, `grad` is `[p, d]` and `bias` is `[p]`, all `f32`. A sample of weight 0 is padding: it has norm
/// and factor 0, and adds nothing. One whose norm is no finite number has factor 0. Offsets that do not ascend or lead beyond the rows, and a weight other than 0
/// and 1, are a fault of the sample.
///
/// This is for layers that are clipped by themselves: a norm over several layers is known only after the last of them.
#[derive(Debug, Clone)]
pub struct ClipLinearFused {
    /// Inputs of the layer, `[rows, d]`.
    pub x: Tensor,
    /// Gradients of its outputs, `[rows, p]`.
    pub dy: Tensor,
    /// Where samples begin and end, `[samples + 1]`.
    pub offsets: Tensor,
    /// Which samples count, `[samples]`; without, all.
    pub weights: Option<Tensor>,
    /// What the sum is added to, `[p, d]`.
    pub grad: Tensor,
    /// The same of the bias, `[p]`.
    pub bias: Option<Tensor>,
    /// The norm of each sample before, `[samples]`.
    pub norms: Tensor,
    /// The factor of each sample, `[samples]`.
    pub factors: Tensor,
    /// The bound of the norms, above 0.
    pub max_norm: f32,
    /// How a norm becomes a factor.
    pub rule: ClipRule,
    /// Whether gradients are made once.
    pub path: ClipPath,
}

impl ClipLinearFused {
    fn layer(&self) -> Layer<'_> {
        Layer { x: &self.x, dy: &self.dy, offsets: &self.offsets }
    }

    /// The sizes of the layer.
    pub fn sizes(&self) -> LinearSizes {
        self.layer().sizes()
    }
}

impl Operation for ClipLinearFused {
    const NAME: &'static str = "clip_linear_fused";
    const PROMISE: Promise = Promise::Tolerance;
    const MAY_FAULT: bool = true;

    fn inputs(&self) -> Vec<&Tensor> {
        [&self.x, &self.dy, &self.offsets].into_iter().chain(&self.weights).collect()
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.norms, &self.factors]
    }

    fn updates(&self) -> Vec<&Tensor> {
        [&self.grad].into_iter().chain(&self.bias).collect()
    }

    fn check(&self) -> Result<()> {
        let sizes = self.layer().check()?;
        for (name, tensor) in [("norms", &self.norms), ("factors", &self.factors)] {
            of_samples(name, tensor, sizes.samples)?;
        }
        if let Some(weights) = &self.weights {
            of_samples("weights", weights, sizes.samples)?;
        }
        gradients(&self.grad, self.bias.as_ref(), sizes)?;
        if !ClipRule::bounds(self.max_norm) {
            return Err(Error::invalid_argument(
                "maxNorm",
                format!("expected a positive number, given {}", self.max_norm),
            ));
        }
        self.rule.check()
    }

    fn cost(&self) -> Cost {
        let sizes = self.sizes();
        let norms = match (self.path, NormsMethod::fewest_operations(sizes)) {
            (ClipPath::Fused, _) => 0,
            (_, NormsMethod::Direct) => sizes.gradient_flops(),
            (_, NormsMethod::Gram) => (sizes.rows * sizes.length()) as u64 * (sizes.d + sizes.p) as u64,
        };
        let again = check::bytes(&self.updates());
        let bytes = check::bytes(&[self.inputs(), self.outputs(), self.updates()].concat()) + again;
        Cost { flops: sizes.gradient_flops() + norms, bytes }
    }

    fn contract(&self) -> Contract {
        Contract { bound: self.sizes().samples, broken: linear_grad::fault }
    }
}

/// What [`Tensor::clip_linear_fused`] clips, and to what.
#[derive(Debug, Clone)]
pub struct ClipLinearOptions {
    /// What the gradient of the bias is added to; without, the layer has none.
    pub bias: Option<Tensor>,
    /// 1 for each sample that counts, 0 for padding; without, all count.
    pub weights: Option<Tensor>,
    /// The bound of the norms.
    pub max_norm: f32,
    /// How a norm becomes a factor.
    pub rule: ClipRule,
    /// Whether gradients are made once; default the faster of those that the device has.
    pub path: Option<ClipPath>,
}

/// What [`Tensor::clip_linear_fused`] gives.
#[derive(Debug, Clone)]
pub struct ClipLinearFusedOutput {
    /// The norm of each sample before.
    pub norms: Tensor,
    /// The factor of each sample.
    pub factors: Tensor,
    /// Whether gradients were made once.
    pub path: ClipPath,
}

impl Tensor {
    /// Clips the gradients that samples have for a linear layer with these inputs, and adds them to `grad`; see
    /// [`ClipLinearFused`].
    ///
    /// # Errors
    /// [`crate::Code::ShapeMismatch`], [`crate::Code::DtypeMismatch`], [`crate::Code::InvalidArgument`],
    /// [`crate::Code::Unsupported`] for a path that the device has not, [`crate::Code::Disposed`]; offsets that do not
    /// ascend and weights other than 0 and 1 show at the read, as [`crate::Code::InvalidValue`] with their sample.
    pub fn clip_linear_fused(
        &self,
        dy: &Tensor,
        offsets: &Tensor,
        grad: &Tensor,
        options: ClipLinearOptions,
    ) -> Result<ClipLinearFusedOutput> {
        let ClipLinearOptions { bias, weights, max_norm, rule, path } = options;
        let layer = Layer { x: self, dy, offsets };
        let sizes = layer.check().map_err(|e| e.in_op(ClipLinearFused::NAME))?;
        let norms = self.sibling(DType::F32, &[sizes.samples])?;
        let factors = self.sibling(DType::F32, &[sizes.samples])?;
        let mut op = ClipLinearFused {
            x: self.clone(),
            dy: dy.clone(),
            offsets: offsets.clone(),
            weights,
            grad: grad.clone(),
            bias,
            norms: norms.clone(),
            factors: factors.clone(),
            max_norm,
            rule,
            path: path.unwrap_or_else(|| ClipPath::fastest(sizes, self.device().info().kind)),
        };
        if path.is_none() && self.device().info().support(&Op::from(op.clone())) != Support::Native {
            op.path = ClipPath::TwoPhase;
        }
        let path = op.path;
        self.device().run(op)?;
        Ok(ClipLinearFusedOutput { norms, factors, path })
    }
}
