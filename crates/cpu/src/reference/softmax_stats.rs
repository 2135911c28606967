use gristmill_core::Result;
use gristmill_core::ops::SoftmaxStats;

use super::row_reduce::max;
use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &SoftmaxStats, access: &Access) -> Result<()> {
    let (_, columns) = op.x.shape().rows_cols();
    with!(op.x.dtype(), common T => {
        let x = access.input::<T>(&op.x)?;
        let (max, lse) = (access.output::<f32>(&op.max)?, access.output::<f32>(&op.lse)?);
        for (row, (max, lse)) in max.iter_mut().zip(lse).enumerate() {
            let row = x[row * columns..][..columns].iter().map(|x| x.as_f64());
            let (m, l) = max_and_lse(row);
            (*max, *lse) = (m as f32, l as f32);
        }
        Ok(())
    })
}

/// The maximum, and the logarithm of the sum of exponentials.
pub(super) fn max_and_lse(row: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let max = max(row.clone());
    if max == f64::NEG_INFINITY {
        return (max, max);
    }
    (max, max + row.map(|z| (z - max).exp()).sum::<f64>().ln())
}
