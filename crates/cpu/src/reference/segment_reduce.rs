use gristmill_core::Result;
use gristmill_core::ops::SegmentReduce;

use super::fail_at;
use super::row_reduce::reduce;
use crate::access::Access;
use crate::number::{Number, with};
use crate::offsets::{bounds, validate};
use crate::{Offset, Real};

/// `out[s] = values[offsets[s]] + ... + values[offsets[s + 1] - 1]`, added one after the other in `f64`.
pub fn segment_sum<T: Real, O: Offset>(values: &[T], offsets: &[O], out: &mut [f64]) -> Result<()> {
    validate(offsets, values.len(), out.len())?;
    for (segment, sum) in out.iter_mut().enumerate() {
        *sum = 0.0;
        for &value in &values[bounds(offsets, segment)] {
            *sum += value.into();
        }
    }
    Ok(())
}

pub(super) fn run(op: &SegmentReduce, access: &Access) -> Result<()> {
    let offsets = access.indices(&op.offsets)?;
    fail_at(op, offsets.first_unordered(op.x.len()))?;
    with!(op.x.dtype(), float T => with!(op.out.dtype(), float O => {
        let x = access.input::<T>(&op.x)?;
        for (segment, out) in access.output::<O>(&op.out)?.iter_mut().enumerate() {
            let segment = &x[offsets.at(segment) as usize..offsets.at(segment + 1) as usize];
            *out = O::nearest(reduce(op.reduction, segment));
        }
        Ok(())
    }))
}
