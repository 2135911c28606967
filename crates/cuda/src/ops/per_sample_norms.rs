use gristmill_core::Result;
use gristmill_core::ops::PerSampleNorms;

use super::linear_grad::Layer;
use super::strided;
use crate::backend::Context;

pub(super) fn run(op: &PerSampleNorms, cx: &mut Context<'_>) -> Result<()> {
    let layer = Layer { x: &op.x, dy: &op.dy, offsets: &op.offsets, sizes: op.sizes() };
    if layer.sizes.samples == 0 {
        return Ok(());
    }
    let args = layer.args(cx)?.u64(0).u64(0).u64(0).u64(0).finish();
    cx.launch("per_sample_norms", "per_sample_norms_check", strided(layer.sizes.samples), 0, &args)?;
    layer.norms(cx, op.method, op.bias, &op.out)
}
