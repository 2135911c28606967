use gristmill_core::Result;
use gristmill_core::ops::RowReduce;

use super::lanes::dispatch;
use super::reduce::reduce;
use super::segments;
use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &RowReduce, access: &Access) -> Result<()> {
    let (_, columns) = op.x.shape().rows_cols();
    with!(op.x.dtype(), float T => with!(op.out.dtype(), float O => {
        let x = access.input::<T>(&op.x)?;
        segments(x.len(), access.output::<O>(&op.out)?, |first, out| {
            dispatch(#[inline(always)] || {
                for (i, out) in out.iter_mut().enumerate() {
                    *out = O::nearest(reduce(op.reduction, &x[(first + i) * columns..][..columns]));
                }
            });
        });
        Ok(())
    }))
}
