use gristmill_core::Result;
use gristmill_core::ops::{ClipLinearFused, NormsMethod};

use super::linear_grad::Layer;
use super::{segments, strided};
use crate::backend::Context;
use crate::driver::Args;

/// In two phases; [`supports`](crate::Cuda::supports) refuses the other path.
pub(super) fn run(op: &ClipLinearFused, cx: &mut Context<'_>) -> Result<()> {
    const NAME: &str = "clip_linear_fused";
    let layer = Layer { x: &op.x, dy: &op.dy, offsets: &op.offsets, sizes: op.sizes() };
    let samples = layer.sizes.samples;
    if samples == 0 {
        return Ok(());
    }
    let (rule, gamma) = op.rule.code();
    let args = segments(Args::new(), cx, &op.offsets, layer.sizes.rows)?
        .u64(cx.at_option(op.weights.as_ref())?)
        .u64(cx.at(&op.norms)?)
        .u64(cx.at(&op.factors)?)
        .size(samples)
        .f32(op.max_norm)
        .u32(rule)
        .f32(gamma)
        .finish();
    cx.launch(NAME, "clip_linear_fused_check", strided(samples), 0, &args)?;
    let method = NormsMethod::fewest_operations(layer.sizes);
    layer.norms(cx, method, op.bias.is_some(), &op.norms)?;
    cx.launch(NAME, "clip_linear_fused_factors", strided(samples), 0, &args)?;
    layer.add(cx, &op.factors, &op.grad, op.bias.as_ref())
}
