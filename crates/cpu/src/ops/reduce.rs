//! What row_reduce and segment_reduce share.

use gristmill_core::ops::Reduction;

use super::lanes::{max, sum};
use crate::number::Number;

/// The reduction, in the order of [`super::lanes`].
#[inline(always)]
pub(super) fn reduce<T: Number>(reduction: Reduction, values: &[T]) -> f64 {
    match reduction {
        Reduction::Sum => sum(values, |x| x),
        Reduction::SumSquares => sum(values, |x| x * x),
        Reduction::Max => {
            // Looked for apart, since a comparison that minds NaN is no instruction of the processor.
            let nan = values.iter().fold(false, |nan, x| nan | x.as_f64().is_nan());
            if nan { f64::NAN } else { max::<_, _, 16>(values, f64::NEG_INFINITY, T::as_f64) }
        }
    }
}
