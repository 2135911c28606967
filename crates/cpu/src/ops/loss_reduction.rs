use gristmill_core::{Error, Result, ops};
use rayon::prelude::*;

use super::lanes::{canonical, dispatch, sum};
use super::segments_per_task;
use crate::access::{Access, Indices};
use crate::offsets::{bounds, validate};
use crate::reference::fail_at;
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
                    out.prior[i] = sum(&prior[tokens.clone()], |x| x);
                    out.conditional[i] = sum(&conditional[tokens], |x| x);
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

pub(super) fn run(op: &ops::LossReduction, access: &Access) -> Result<()> {
    run_with(op, access, loss_reduction, loss_reduction)
}

/// Runs a function over slices, for offsets of either type, as the operation on a device.
pub(crate) fn run_with(
    op: &ops::LossReduction,
    access: &Access,
    unsigned: impl Fn(&[f32], &[f32], &[u32], LossReduction<'_>) -> Result<()>,
    signed: impl Fn(&[f32], &[f32], &[i32], LossReduction<'_>) -> Result<()>,
) -> Result<()> {
    let offsets = access.indices(&op.offsets)?;
    fail_at(op, offsets.first_unordered(op.prior.len()))?;
    let documents = op.score.len();
    if documents == 0 {
        return Ok(());
    }
    let (p, c) = (access.input(&op.prior)?, access.input(&op.conditional)?);
    let mut out = [vec![0.0; documents], vec![0.0; documents], vec![0.0; documents]];
    let [prior, conditional, score] = &mut out;
    let slices = LossReduction { prior, conditional, score };
    match offsets {
        Indices::U32(offsets) => unsigned(p, c, offsets, slices)?,
        Indices::I32(offsets) => signed(p, c, offsets, slices)?,
    }
    for (tensor, exact) in [&op.prior_sum, &op.conditional_sum, &op.score].into_iter().zip(&out) {
        for (out, &exact) in access.output::<f32>(tensor)?.iter_mut().zip(exact) {
            *out = exact as f32;
        }
    }
    Ok(())
}
