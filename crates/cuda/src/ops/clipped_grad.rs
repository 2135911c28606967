use gristmill_core::Result;
use gristmill_core::ops::ClippedGrad;

use super::linear_grad::Layer;
use super::strided;
use crate::backend::Context;

pub(super) fn run(op: &ClippedGrad, cx: &mut Context<'_>) -> Result<()> {
    let layer = Layer { x: &op.x, dy: &op.dy, offsets: &op.offsets, sizes: op.sizes() };
    if layer.sizes.samples == 0 {
        return Ok(());
    }
    let args = layer.args(cx)?.u64(0).u64(0).u64(0).finish();
    cx.launch("clipped_grad", "clipped_grad_check", strided(layer.sizes.samples), 0, &args)?;
    layer.add(cx, &op.factors, &op.grad, op.bias.as_ref())
}
