use std::ops::Range;

use gristmill_core::Result;
use gristmill_core::ops::ChannelStep;

use super::elementwise::column_pieces;
use super::lanes::dispatch;
use super::noise::{Nearest, Random, Rounding, taken};
use crate::access::Access;
use crate::float::Float;
use crate::number::with;

/// Values that are updated in one go.
const BLOCK: usize = 4096;

/// Those whose random bits are made at once.
const RUN: usize = 64;

pub(super) fn run(op: &ChannelStep, access: &Access) -> Result<()> {
    let (_, columns) = op.param.shape().rows_cols();
    let factors = access.input::<f32>(&op.factors)?;
    with!(op.grad.dtype(), common G => with!(op.param.dtype(), common P => {
        let grads = access.input::<G>(&op.grad)?;
        let noise = taken(op.noise, &[op.param.dtype()]);
        column_pieces::<P, BLOCK>(access.output::<P>(&op.param)?, columns, |first, column, param| {
            let grads = &grads[first..][..param.len()];
            let factors = match op.columns {
                true => Factors::Own(&factors[column..][..param.len()]),
                false => Factors::Shared(factors[first / columns]),
            };
            dispatch(#[inline(always)] || match noise {
                None => elements(op, &Nearest, grads, param, &factors, 0..param.len()),
                Some(noise) => {
                    for start in (0..param.len()).step_by(RUN) {
                        let random = Random::<RUN>::new(noise, first + start);
                        elements(op, &random, grads, param, &factors, start..param.len().min(start + RUN));
                    }
                }
            });
        });
        Ok(())
    }))
}

/// Factors of some elements.
enum Factors<'a> {
    Own(&'a [f32]),
    Shared(f32),
}

/// Moves elements of a run.
#[inline(always)]
fn elements<P: Float, G: Float, R: Rounding>(
    op: &ChannelStep,
    rounding: &R,
    grads: &[G],
    param: &mut [P],
    factors: &Factors,
    run: Range<usize>,
) {
    let n = run.len().min(R::RUN);
    let (grads, param) = (&grads[run.clone()][..n], &mut param[run.clone()][..n]);
    let mut each = |i: usize, factor: f32| {
        let (was, grad) = (param[i].widen(), grads[i].widen());
        let moved = rounding.stored(i, 0, ChannelStep::moved(was, grad, op.step * factor, op.keep));
        param[i] = if ChannelStep::counts(grad, factor) { moved } else { param[i] };
    };
    match factors {
        Factors::Own(factors) => {
            let factors = &factors[run][..n];
            (0..n).for_each(|i| each(i, factors[i]));
        }
        Factors::Shared(factor) => (0..n).for_each(|i| each(i, *factor)),
    }
}
