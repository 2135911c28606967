use gristmill_core::Result;
use gristmill_core::ops::ClippedGrad;

use super::Run;
use super::linear_grad::{Layer, Target};

pub(super) fn run(run: &mut Run, op: &ClippedGrad) -> Result<()> {
    let layer = Layer { x: &op.x, dy: &op.dy, offsets: &op.offsets, sizes: op.sizes() };
    let all = (0, layer.sizes.samples);
    layer.check(run, None)?;
    layer.weight(run, all, Some(&op.factors), &Target::Tensor(&op.grad), false)?;
    op.bias
        .as_ref()
        .map_or(Ok(()), |bias| layer.bias(run, all, Some(&op.factors), &Target::Tensor(bias), false))
}
