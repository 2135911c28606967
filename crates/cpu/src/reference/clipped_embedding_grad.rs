use gristmill_core::Result;
use gristmill_core::ops::ClippedEmbeddingGrad;

use super::embedding_norms::{check, gradient};
use crate::access::Access;
use crate::number::with;

pub(super) fn run(op: &ClippedEmbeddingGrad, access: &Access) -> Result<()> {
    let (ids, offsets) = (access.indices(&op.ids)?, access.indices(&op.offsets)?);
    check(op, ids, op.grad.shape().rows_cols().0, offsets)?;
    let (_, d) = op.dy.shape().rows_cols();
    let factors = access.input::<f32>(&op.factors)?;
    let grad = access.output::<f32>(&op.grad)?;
    let mut sums: Vec<f64> = grad.iter().map(|&g| g.into()).collect();
    with!(op.dy.dtype(), common T => {
        let dy = access.input::<T>(&op.dy)?;
        for (sample, &factor) in factors.iter().enumerate().filter(|(_, factor)| **factor != 0.0) {
            for (id, of_row) in gradient(dy, d, ids, offsets, sample, op.padding_idx) {
                for (sum, g) in sums[id as usize * d..].iter_mut().zip(of_row) {
                    *sum += f64::from(factor) * g;
                }
            }
        }
        Ok(())
    })?;
    for (grad, sum) in grad.iter_mut().zip(sums) {
        *grad = sum as f32;
    }
    Ok(())
}
