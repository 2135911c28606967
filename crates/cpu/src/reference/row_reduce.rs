use gristmill_core::Result;
use gristmill_core::ops::{Reduction, RowReduce};

use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &RowReduce, access: &Access) -> Result<()> {
    let (_, columns) = op.x.shape().rows_cols();
    with!(op.x.dtype(), float T => with!(op.out.dtype(), float O => {
        let x = access.input::<T>(&op.x)?;
        for (row, out) in access.output::<O>(&op.out)?.iter_mut().enumerate() {
            *out = O::nearest(reduce(op.reduction, &x[row * columns..][..columns]));
        }
        Ok(())
    }))
}

/// The reduction, one value after the other in `f64`.
pub(super) fn reduce<T: Number>(reduction: Reduction, values: &[T]) -> f64 {
    let values = values.iter().map(|x| x.as_f64());
    match reduction {
        Reduction::Sum => values.fold(0.0, |sum, x| sum + x),
        Reduction::SumSquares => values.fold(0.0, |sum, x| sum + x * x),
        Reduction::Max => max(values),
    }
}

/// The greatest; NaN if one is; negative infinity of none.
pub(super) fn max(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(f64::NEG_INFINITY, |m, x| if x.is_nan() || x > m { x } else { m })
}
