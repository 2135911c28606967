use gristmill_core::Result;
use rayon::prelude::*;

use super::lanes::{dispatch, sum};
use super::segments_per_task;
use crate::offsets::{bounds, validate};
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
    let run = |first: usize, out: &mut [f64]| {
        dispatch(
            #[inline(always)]
            || {
                for (i, out) in out.iter_mut().enumerate() {
                    *out = sum(&values[bounds(offsets, first + i)]);
                }
            },
        );
    };
    match segments_per_task(values.len(), out.len()) {
        None => run(0, out),
        Some(n) => out.par_chunks_mut(n).enumerate().for_each(|(task, out)| run(task * n, out)),
    }
    Ok(())
}
