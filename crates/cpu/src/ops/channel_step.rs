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
            let across = op.columns.then(|| &factors[column..][..param.len()]);
            let own = if op.columns { 0.0 } else { factors[first / columns] };
            dispatch(#[inline(always)] || match noise {
                None => elements(op, &Nearest, grads, param, across, own),
                Some(noise) => {
                    let runs = param.chunks_mut(RUN).zip(grads.chunks(RUN)).enumerate();
                    for (at, (param, grads)) in runs.map(|(i, run)| (i * RUN, run)) {
                        let across = across.map(|factors| &factors[at..][..param.len()]);
                        elements(op, &Random::<RUN>::new(noise, first + at), grads, param, across, own);
                    }
                }
            });
        });
        Ok(())
    }))
}

/// Moves a run of elements, each with the factor of its column or all with that of their row.
#[inline(always)]
fn elements<P: Float, G: Float, R: Rounding>(
    op: &ChannelStep,
    rounding: &R,
    grads: &[G],
    param: &mut [P],
    across: Option<&[f32]>,
    own: f32,
) {
    let n = param.len().min(R::RUN);
    let (grads, param) = (&grads[..n], &mut param[..n]);
    match across {
        Some(factors) => {
            let factors = &factors[..n];
            for i in 0..n {
                param[i] = moved(op, rounding, i, param[i], grads[i], factors[i]);
            }
        }
        None => {
            for i in 0..n {
                param[i] = moved(op, rounding, i, param[i], grads[i], own);
            }
        }
    }
}

/// Element `i` of a run after the step.
#[inline(always)]
fn moved<P: Float, G: Float, R: Rounding>(
    op: &ChannelStep,
    rounding: &R,
    i: usize,
    param: P,
    grad: G,
    factor: f32,
) -> P {
    let grad = grad.widen();
    let moved = ChannelStep::moved(param.widen(), grad, op.step * factor, op.keep);
    let stored = rounding.stored(i, 0, moved);
    if ChannelStep::counts(grad, factor) { stored } else { param }
}
