use gristmill_core::Result;
use gristmill_core::ops::PerSampleNorms;

use super::fail_at;
use super::linear_grad::Layer;
use crate::access::Access;
use crate::number::with;

pub(super) fn run(op: &PerSampleNorms, access: &Access) -> Result<()> {
    let sizes = op.sizes();
    let offsets = access.indices(&op.offsets)?;
    fail_at(op, offsets.first_unordered(sizes.rows))?;
    let out = access.output::<f32>(&op.out)?;
    with!(op.x.dtype(), common T => {
        let (x, dy) = (access.input::<T>(&op.x)?, access.input::<T>(&op.dy)?);
        let layer = Layer { x, dy, offsets, d: sizes.d, p: sizes.p };
        for (sample, out) in out.iter_mut().enumerate() {
            *out = layer.squared_norm(sample, op.bias) as f32;
        }
        Ok(())
    })
}
