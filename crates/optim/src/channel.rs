//! Gradients of full rank with the factors of channels that Adam has in a subspace: APOLLO and Fira.

use gristmill_core::ops::{ChannelFactors, ChannelStep, Matmul, MatmulOptions, Reduction};
use gristmill_core::{DType, Device, Result, Tensor};

use crate::low_rank::{LowRank, Sides, Step};
use crate::subspace::{Basis, Subspace};
use crate::{ApolloOptions, FiraOptions, ProjType, ScaleType, StateType, moments};

/// How the channels of a gradient are scaled.
#[derive(Debug, Clone)]
pub(crate) struct Channels {
    /// Whether all have one factor.
    whole: bool,
    /// Factors before the limiter and after it.
    scale: [f32; 2],
    /// Whether what is scaled is only what the subspace does not have, beside the update in the subspace.
    residual: bool,
    /// The size of the step before, `[1]`; none without the limiter.
    pub(crate) previous: Option<Tensor>,
}

/// What a step along scaled channels is taken with.
pub(crate) struct Scaled<'a> {
    pub(crate) weight: &'a Tensor,
    pub(crate) gradient: &'a Tensor,
    /// The gradient in the subspace, and the bases that it was projected by.
    pub(crate) inner: &'a Tensor,
    pub(crate) bases: &'a [Tensor],
    pub(crate) step: &'a Step,
}

impl Channels {
    fn new(device: &Device, disable_nl: bool) -> Result<Self> {
        let previous = if disable_nl { None } else { Some(device.zeros(DType::F32, [1])?) };
        Ok(Self { whole: false, scale: [1.0; 2], residual: false, previous })
    }
}

impl LowRank {
    pub(crate) fn apollo(
        device: &Device,
        shape: [usize; 2],
        options: ApolloOptions,
        state: (StateType, &Tensor),
        offset: u64,
    ) -> Result<Self> {
        let subspace = Subspace {
            kind: ProjType::Std,
            rank: options.rank,
            clamp_rank: options.clamp_rank,
            gap: options.update_proj_gap,
            basis: Basis::Random(options.projector),
            scale: 1.0,
        };
        let factor = options.scale.sqrt() as f32;
        let channels = Channels {
            whole: options.scale_type == ScaleType::Tensor,
            scale: if options.scale_front { [factor, 1.0] } else { [1.0, factor] },
            ..Channels::new(device, options.disable_nl)?
        };
        Ok(Self::new(device, shape, subspace, state, offset)?.scaled_by(channels))
    }

    pub(crate) fn fira(
        device: &Device,
        shape: [usize; 2],
        options: FiraOptions,
        state: (StateType, &Tensor),
        offset: u64,
    ) -> Result<Self> {
        let channels = Channels { residual: true, ..Channels::new(device, options.disable_nl)? };
        let subspace = Subspace::galore(&options.galore());
        Ok(Self::new(device, shape, subspace, state, offset)?.scaled_by(channels))
    }

    fn scaled_by(mut self, channels: Channels) -> Self {
        self.channels = Some(Box::new(channels));
        self
    }

    /// Moves the weight along the scaled channels, and what the limiter remembers.
    pub(crate) fn scaled_step(&self, channels: &Channels, of: &Scaled<'_>) -> Result<()> {
        let (keep, (rule, left)) = (of.step.rule.keep, of.step.rule.direction());
        let direction = moments::direction(of.inner, &self.moments, rule, of.step.noise)?;
        let device = of.weight.device();
        let projected = row_squares(of.inner)?;
        // Channels are rows of what is kept, and columns of the gradient where that is the left side's.
        let columns = self.sides == Sides::Left;
        let mut gradient = if columns { column_squares(of.gradient)? } else { row_squares(of.gradient)? };
        if channels.residual {
            gradient = self.residual_squares(gradient, &projected, of)?;
        }
        let factors = device.empty(DType::F32, [projected.len()])?;
        let [before, after] = channels.scale;
        device.run(ChannelFactors {
            direction: row_squares(&direction)?,
            projected,
            gradient,
            previous: channels.previous.clone(),
            factors: factors.clone(),
            whole: channels.whole,
            scale: before,
            grad_scale: rule.grad_scale,
        })?;
        let along = |param: &Tensor, step: f32, keep: f32| ChannelStep {
            grad: of.gradient.clone(),
            factors: factors.clone(),
            param: param.clone(),
            columns,
            step,
            keep,
            noise: of.step.noise,
        };
        if !channels.residual {
            return device.run(along(of.weight, left * after, keep));
        }
        // `α back(n) + f (g − α back(r))` is `f g + α back(n − f r)`.
        device.run(ChannelStep {
            grad: of.inner.clone(),
            param: direction.clone(),
            columns: false,
            ..along(&direction, 1.0, 1.0)
        })?;
        let alpha = self.scale as f32;
        if of.weight.dtype() == DType::F32 {
            self.project_back(&direction, of.bases, of.weight, -left * alpha, keep)?;
            return device.run(along(of.weight, left, 1.0));
        }
        // Rounded once: both parts of the update first.
        let (a, b) = match self.sides {
            Sides::Left => (&of.bases[0], &direction),
            _ => (&direction, &of.bases[0]),
        };
        let update = a.matmul(b, MatmulOptions { trans_b: true, ..Default::default() })?;
        device.run(along(&update, -1.0, alpha))?;
        of.weight.axpby(-left, &update, keep)
    }

    /// Sums of squares of the channels of `g − α back(r)`: `‖g‖² − 2α ‖r‖² + α² ‖back(r)‖²`, where `r` is the projection of
    /// `g` by the same basis; the last norm is that of `r` for an orthonormal one.
    fn residual_squares(&self, gradient: Tensor, projected: &Tensor, of: &Scaled<'_>) -> Result<Tensor> {
        let alpha = self.scale as f32;
        if self.is_orthonormal() {
            gradient.axpby(alpha * alpha - 2.0 * alpha, projected, 1.0)?;
            return Ok(gradient);
        }
        // `rᵀ (PᵀP) r` with `t = PᵀP r`, by `4 rᵀt = ‖r + t‖² − ‖r − t‖²`, where the second is small.
        let gram = of.bases[0].matmul(&of.bases[0], MatmulOptions { trans_a: true, ..Default::default() })?;
        gradient.axpby(-2.0 * alpha, projected, 1.0)?;
        for sign in [1.0, -1.0] {
            let sum = of.inner.copy()?;
            of.inner.device().run(Matmul {
                a: of.inner.clone(),
                b: gram.clone(),
                out: sum.clone(),
                trans_a: false,
                trans_b: false,
                alpha: sign,
                beta: 1.0,
            })?;
            gradient.axpby(sign * alpha * alpha / 4.0, &row_squares(&sum)?, 1.0)?;
        }
        Ok(gradient)
    }
}

fn row_squares(x: &Tensor) -> Result<Tensor> {
    x.row_reduce(Reduction::SumSquares)
}

/// Sums of squares of columns: of some rows at a time, so that there is work for a whole device, then of all.
fn column_squares(x: &Tensor) -> Result<Tensor> {
    const ROWS: usize = 64;
    let (rows, columns) = x.shape().rows_cols();
    let (device, parts) = (x.device(), rows.div_ceil(ROWS));
    let offsets: Vec<u32> = (0..=parts).map(|part| (part * ROWS).min(rows) as u32).collect();
    let sums = x.segment_product(Some(x), &device.tensor(offsets, [parts + 1])?)?;
    let all = device.tensor(vec![0u32, parts as u32], [2])?;
    sums.segment_product(None, &all)?.reshape([columns])
}
