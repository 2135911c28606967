use gristmill_core::Result;
use gristmill_core::ops::PerSampleNorms;

use super::Run;
use super::linear_grad::Layer;

pub(super) fn run(run: &mut Run, op: &PerSampleNorms) -> Result<()> {
    let layer = Layer { x: &op.x, dy: &op.dy, offsets: &op.offsets, sizes: op.sizes() };
    layer.check(run, None)?;
    layer.norms(run, op.method, op.bias, &op.out)
}
