use gristmill_core::Result;
use gristmill_core::ops::ClippedGrad;

use super::Run;
use super::linear_grad::{Fresh, Layer, Numbers};

pub(super) fn run(run: &mut Run, op: &ClippedGrad) -> Result<()> {
    let layer = Layer { x: &op.x, dy: &op.dy, offsets: &op.offsets, sizes: op.sizes() };
    let all = (0, layer.sizes.samples);
    layer.check(run, None)?;
    let factors = Some(&Numbers::Tensor(&op.factors));
    layer.weight(run, all, factors, &Numbers::Tensor(&op.grad), Fresh::Add)?;
    let bias = op.bias.as_ref();
    bias.map_or(Ok(()), |bias| layer.bias(run, all, factors, &Numbers::Tensor(bias), Fresh::Add))
}
