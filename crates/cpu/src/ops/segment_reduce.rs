use gristmill_core::Result;
use gristmill_core::ops::SegmentReduce;

use super::lanes::{dispatch, sum};
use super::reduce::reduce;
use super::segments;
use crate::access::Access;
use crate::number::{Number, with};
use crate::offsets::{bounds, validate};
use crate::reference::fail_at;
use crate::{Offset, Real};

/// Sums of consecutive segments: `out[s]` is the sum of `values[offsets[s]..offsets[s + 1]]` in `f64`.
///
/// The offsets are those of an Arrow list array: one more than there are segments, ascending, the first
/// not necessarily 0. An empty segment gives 0. The error of a sum of `n` values is below
/// `n / 8 * 2^-53` times the sum of their magnitudes.
///
/// # Errors
/// [`gristmill_core::Code::InvalidValue`] with the row of the first offset that is out of order.
pub fn segment_sum<T: Real, O: Offset>(values: &[T], offsets: &[O], out: &mut [f64]) -> Result<()> {
    validate(offsets, values.len(), out.len())?;
    segments(values.len(), out, |first, out| {
        dispatch(
            #[inline(always)]
            || {
                for (i, out) in out.iter_mut().enumerate() {
                    *out = sum(&values[bounds(offsets, first + i)], |x| x);
                }
            },
        );
    });
    Ok(())
}

pub(super) fn run(op: &SegmentReduce, access: &Access) -> Result<()> {
    let offsets = access.indices(&op.offsets)?;
    fail_at(op, offsets.first_unordered(op.x.len()))?;
    with!(op.x.dtype(), float T => with!(op.out.dtype(), float O => {
        let x = access.input::<T>(&op.x)?;
        segments(x.len(), access.output::<O>(&op.out)?, |first, out| {
            dispatch(#[inline(always)] || {
                for (i, out) in out.iter_mut().enumerate() {
                    let segment = offsets.at(first + i) as usize..offsets.at(first + i + 1) as usize;
                    *out = O::nearest(reduce(op.reduction, &x[segment]));
                }
            });
        });
        Ok(())
    }))
}
