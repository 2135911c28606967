use gristmill_core::{Result, ops};

use super::segment_sum;
use crate::access::Access;
use crate::ops::LossReduction;
use crate::{Offset, Real};

/// `score[s] = (sum of prior - sum of conditional) / tokens` of each segment, and NaN for an empty one.
pub fn loss_reduction<T: Real, O: Offset>(
    prior: &[T],
    conditional: &[T],
    offsets: &[O],
    out: LossReduction<'_>,
) -> Result<()> {
    out.validate(prior.len(), conditional.len())?;
    segment_sum(prior, offsets, out.prior)?;
    segment_sum(conditional, offsets, out.conditional)?;
    for (segment, score) in out.score.iter_mut().enumerate() {
        let tokens = crate::offsets::bounds(offsets, segment).len();
        *score = (out.prior[segment] - out.conditional[segment]) / tokens as f64;
    }
    Ok(())
}

pub(super) fn run(op: &ops::LossReduction, access: &Access) -> Result<()> {
    crate::ops::loss_reduction_with(op, access, loss_reduction, loss_reduction)
}
