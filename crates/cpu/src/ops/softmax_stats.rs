use gristmill_core::Result;
use gristmill_core::ops::SoftmaxStats;

use super::softmax::{Transform, rows};
use crate::access::Access;
use crate::number::with;

pub(super) fn run(op: &SoftmaxStats, access: &Access) -> Result<()> {
    let (count, columns) = op.x.shape().rows_cols();
    let mut stats = vec![(0.0, 0.0); count];
    let plain = Transform { bias: None, softcap: None };
    with!(op.x.dtype(), common T => {
        let x = access.input::<T>(&op.x)?;
        rows(x, [columns, columns], plain, &mut stats, |_, p| (p.maximum(), p.log_sum_exp() as f32));
        Ok(())
    })?;
    let (max, lse) = (access.output::<f32>(&op.max)?, access.output::<f32>(&op.lse)?);
    for ((max, lse), stats) in max.iter_mut().zip(lse).zip(stats) {
        (*max, *lse) = stats;
    }
    Ok(())
}
