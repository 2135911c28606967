use super::{Cost, Operation, Promise, check};
use crate::{DType, Result, Tensor};

/// Factors of the channels of a gradient, from how much Adam changes their size in a subspace, with a limiter of growth:
/// APOLLO (Zhu et al. 2024, algorithm 1) and Fira (Chen et al. 2024, algorithm 1).
///
/// Channels are the rows or the columns of a gradient `g`; of channel `j`, `direction[j] = ‖n_j‖²` is of Adam's direction
/// in the subspace, `projected[j] = ‖r_j‖²` of what that was made of, and `gradient[j] = ‖g_j‖²` of what is scaled. With
/// `c = gradScale`, which `r` and `g` are still without,
///
/// `s_j = scale · √direction[j] / (c √projected[j] + 10⁻⁸)`, or with `whole` the same of the sums over all channels for each;
/// `size = c √(Σ_j s_j² gradient[j])`; `d = max(size / (previous + 10⁻⁸), 1.01) / 1.01`, so that the size grows by 1% at the
/// most; `factors[j] = c s_j / d`, `previous ← size / d`.
///
/// A `previous` of 0 is of nobody, as before the first step: `d` is 1. (So it is after a gradient of zeros, where the
/// reference code of both papers would begin to grow from 10⁻⁸.) Without `previous`, `d` is 1 always. A sum below 0, as
/// rounding can make one, is 0; a channel with one that is not finite has the factor 0 and takes no part in the sums; a
/// `previous` that is below the normal numbers or not finite is of nobody, and a size that is not finite leaves it and gives
/// factors of 0.
///
/// All tensors are `f32`: `previous` of one element, the others of one for each channel.
#[derive(Debug, Clone)]
pub struct ChannelFactors {
    /// Sums of squares of Adam's direction, `[channels]`.
    pub direction: Tensor,
    /// Of the projected gradient, `[channels]`.
    pub projected: Tensor,
    /// Of what is scaled, `[channels]`.
    pub gradient: Tensor,
    /// The size of the step before, `[1]`, which becomes that of this one; none without the limiter.
    pub previous: Option<Tensor>,
    /// The factors, `[channels]`.
    pub factors: Tensor,
    /// Whether all channels have the factor of the whole.
    pub whole: bool,
    /// Factor of every `s_j`.
    pub scale: f32,
    /// Factor of the gradient, at least 0.
    pub grad_scale: f32,
}

impl ChannelFactors {
    /// What is added to norms that divide.
    pub const EPS: f32 = 1e-8;
    /// By how much the size grows from step to step at the most.
    pub const GROWTH: f32 = 1.01;
}

impl Operation for ChannelFactors {
    const NAME: &'static str = "channel_factors";
    const PROMISE: Promise = Promise::Tolerance;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.direction, &self.projected, &self.gradient]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.factors]
    }

    fn updates(&self) -> Vec<&Tensor> {
        self.previous.iter().collect()
    }

    fn check(&self) -> Result<()> {
        check::rank("direction", &self.direction, 1)?;
        let channels = self.direction.len();
        for (name, tensor) in [
            ("direction", &self.direction),
            ("projected", &self.projected),
            ("gradient", &self.gradient),
            ("factors", &self.factors),
        ] {
            check::dtype(name, tensor, &[DType::F32])?;
            check::shape(name, tensor, &[channels])?;
        }
        if let Some(previous) = &self.previous {
            check::dtype("previous", previous, &[DType::F32])?;
            check::shape("previous", previous, &[1])?;
        }
        check::finite("scale", self.scale)?;
        check::finite("gradScale", self.grad_scale)
    }

    fn cost(&self) -> Cost {
        let all = [self.inputs(), self.outputs(), self.updates(), self.updates()].concat();
        Cost { flops: 8 * self.factors.len() as u64, bytes: check::bytes(&all) }
    }
}
