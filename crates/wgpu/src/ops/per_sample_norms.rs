use gristmill_core::Result;
use gristmill_core::ops::PerSampleNorms;

use super::Run;
use super::linear_grad::{Gradient, Layer};

pub(super) fn run(run: &mut Run, op: &PerSampleNorms) -> Result<()> {
    let layer = Layer { x: &op.x, dy: &op.dy, offsets: &op.offsets, sizes: op.sizes() };
    layer.check(run, None)?;
    let gradient = Gradient::new(run, layer.sizes, op.bias)?;
    for sample in 0..layer.sizes.samples {
        gradient.measure(run, &layer, sample, &op.out)?;
    }
    gradient.done(run);
    Ok(())
}
