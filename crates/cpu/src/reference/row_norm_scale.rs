use gristmill_core::Result;
use gristmill_core::ops::{Reduction, RowNormScale};

use super::row_reduce::reduce;
use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &RowNormScale, access: &Access) -> Result<()> {
    let (_, columns) = op.x.shape().rows_cols();
    let norms = access.output::<f32>(&op.norms)?;
    let factors = access.output::<f32>(&op.factors)?;
    let mut sum = vec![0.0; columns];
    with!(op.x.dtype(), common T => {
        let x = access.input::<T>(&op.x)?;
        for (row, (norm, factor)) in norms.iter_mut().zip(factors).enumerate() {
            let row = &x[row * columns..][..columns];
            let exact = reduce(Reduction::SumSquares, row).sqrt();
            *norm = exact as f32;
            if !norm.is_finite() {
                *factor = 0.0;
                continue;
            }
            let exact = if exact == 0.0 { 1.0 } else { (f64::from(op.max_norm) / exact).min(1.0) };
            *factor = exact as f32;
            for (sum, x) in sum.iter_mut().zip(row) {
                *sum += exact * x.as_f64();
            }
        }
        Ok(())
    })?;
    for (out, sum) in access.output::<f32>(&op.out)?.iter_mut().zip(sum) {
        *out = sum as f32;
    }
    Ok(())
}
