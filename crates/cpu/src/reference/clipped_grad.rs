use gristmill_core::Result;
use gristmill_core::ops::ClippedGrad;

use super::fail_at;
use super::linear_grad::{Layer, add_scaled};
use crate::access::Access;
use crate::number::with;

pub(super) fn run(op: &ClippedGrad, access: &Access) -> Result<()> {
    let sizes = op.sizes();
    let offsets = access.indices(&op.offsets)?;
    fail_at(op, offsets.first_unordered(sizes.rows))?;
    let factors = access.input::<f32>(&op.factors)?;
    with!(op.x.dtype(), common T => {
        let (x, dy) = (access.input::<T>(&op.x)?, access.input::<T>(&op.dy)?);
        let layer = Layer { x, dy, offsets, d: sizes.d, p: sizes.p };
        add_scaled(access.output(&op.grad)?, factors, |sample| layer.gradient(sample));
        if let Some(bias) = &op.bias {
            add_scaled(access.output(bias)?, factors, |sample| layer.bias(sample));
        }
        Ok(())
    })
}
