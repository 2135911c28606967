use gristmill_core::{Error, Result};
use rayon::prelude::*;

use super::lanes::{canonical, dispatch, sum};
use super::segments_per_task;
use crate::offsets::{bounds, validate};
use crate::{Offset, Real};

/// Where [`loss_reduction`] writes: one number per segment each.
#[derive(Debug)]
pub struct LossReduction<'a> {
    /// Sum of the prior's losses.
    pub prior: &'a mut [f64],
    /// Sum of the conditional model's losses.
    pub conditional: &'a mut [f64],
    /// Difference of the sums over the number of tokens.
    pub score: &'a mut [f64],
}

impl LossReduction<'_> {
    pub(crate) fn validate(&self, prior: usize, conditional: usize) -> Result<()> {
        if prior != conditional {
            return Err(Error::invalid_argument(
                "conditional",
                format!(
                    "{conditional} losses for {prior} of the prior: both models must see the same tokens"
                ),
            ));
        }
        if self.prior.len() != self.score.len() || self.conditional.len() != self.score.len() {
            return Err(Error::invalid_argument("out", "the three outputs differ in length"));
        }
        Ok(())
    }
}

/// Loss reduction of consecutive segments: from the losses of every token under two models, in one pass,
/// both sums and `score[s] = (prior[s] - conditional[s]) / tokens`. An empty segment scores NaN.
///
/// # Errors
/// [`gristmill_core::Code::InvalidArgument`] when the lengths differ, and those of
/// [`segment_sum`](super::segment_sum).
pub fn loss_reduction<T: Real, O: Offset>(
    prior: &[T],
    conditional: &[T],
    offsets: &[O],
    out: LossReduction<'_>,
) -> Result<()> {
    out.validate(prior.len(), conditional.len())?;
    validate(offsets, prior.len(), out.score.len())?;
    let run = |first: usize, out: LossReduction<'_>| {
        dispatch(
            #[inline(always)]
            || {
                for (i, score) in out.score.iter_mut().enumerate() {
                    let tokens = bounds(offsets, first + i);
                    let n = tokens.len() as f64;
                    out.prior[i] = sum(&prior[tokens.clone()]);
                    out.conditional[i] = sum(&conditional[tokens]);
                    *score = canonical((out.prior[i] - out.conditional[i]) / n);
                }
            },
        );
    };
    match segments_per_task(prior.len(), out.score.len()) {
        None => run(0, out),
        Some(n) => {
            (out.score.par_chunks_mut(n), out.prior.par_chunks_mut(n), out.conditional.par_chunks_mut(n))
                .into_par_iter()
                .enumerate()
                .for_each(|(task, (score, prior, conditional))| {
                    run(task * n, LossReduction { prior, conditional, score });
                })
        }
    }
    Ok(())
}
