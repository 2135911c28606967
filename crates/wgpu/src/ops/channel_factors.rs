use gristmill_core::ops::ChannelFactors;
use gristmill_core::{Result, Tensor};

use super::{Run, fits_row};
use crate::window::Window;

pub(super) fn run(run: &mut Run, op: &ChannelFactors) -> Result<()> {
    let channels = op.factors.len();
    fits_row(run, channels)?;
    let whole = |tensor: &Tensor| Window::of(tensor, run.buffers, 0, tensor.len());
    let (direction, projected) = (whole(&op.direction)?, whole(&op.projected)?);
    let (gradient, factors) = (whole(&op.gradient)?, whole(&op.factors)?);
    let previous = op.previous.as_ref().map(whole).transpose()?;
    let mut kernel = run
        .ctx
        .kernel("channel_factors")
        .flag("WHOLE", op.whole)
        .flag("LIMIT", previous.is_some())
        .read(&direction)
        .read(&projected)
        .read(&gradient)
        .write(&factors);
    if let Some(previous) = &previous {
        kernel = kernel.write(previous);
    }
    kernel
        .count("channels", channels)
        .param("direction_at", direction.at)
        .param("projected_at", projected.at)
        .param("gradient_at", gradient.at)
        .param("factors_at", factors.at)
        .param("previous_at", previous.map_or(0, |window| window.at))
        .number("scale", op.scale)
        .number("grad_scale", op.grad_scale)
        .run(run.ctx, 1, 48 * channels as u64)
}
