use gristmill_core::Result;
use gristmill_core::ops::BiasAdd;

use super::elementwise::column_pieces;
use super::lanes::dispatch;
use crate::access::Access;
use crate::float::Float;
use crate::number::with;

/// Values that are updated in one go.
const BLOCK: usize = 4096;

pub(super) fn run(op: &BiasAdd, access: &Access) -> Result<()> {
    let bias = access.input::<f32>(&op.bias)?;
    with!(op.x.dtype(), common T => {
        column_pieces::<T, BLOCK>(access.output::<T>(&op.x)?, bias.len(), |_, column, x| {
            let bias = &bias[column..][..x.len()];
            dispatch(#[inline(always)] || {
                x.iter_mut().zip(bias).for_each(|(x, b)| *x = T::narrow(x.widen() + b));
            });
        });
        Ok(())
    })
}
