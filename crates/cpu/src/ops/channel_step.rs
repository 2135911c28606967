use gristmill_core::ops::{ChannelStep, Noise};
use gristmill_core::{DType, Result};

use super::elementwise::column_pieces;
use super::lanes::dispatch;
use crate::access::Access;
use crate::float::Float;
use crate::number::with;

/// Values that are updated in one go.
const BLOCK: usize = 4096;

pub(super) fn run(op: &ChannelStep, access: &Access) -> Result<()> {
    let (_, columns) = op.param.shape().rows_cols();
    let factors = access.input::<f32>(&op.factors)?;
    with!(op.grad.dtype(), common G => with!(op.param.dtype(), common P => {
        let grads = access.input::<G>(&op.grad)?;
        let noise = op.noise.filter(|_| op.param.dtype() == DType::Bf16);
        column_pieces::<P, BLOCK>(access.output::<P>(&op.param)?, columns, |first, column, param| {
            let grads = &grads[first..][..param.len()];
            let across = op.columns.then(|| &factors[column..][..param.len()]);
            let own = if op.columns { 0.0 } else { factors[first / columns] };
            dispatch(#[inline(always)] || match (across, noise) {
                // So that the loops without noise have no branch in them.
                (Some(factors), None) => {
                    for ((param, &grad), &factor) in param.iter_mut().zip(grads).zip(factors) {
                        *param = P::narrow(moved(op, *param, grad, factor));
                    }
                }
                (None, None) => {
                    for (param, &grad) in param.iter_mut().zip(grads) {
                        *param = P::narrow(moved(op, *param, grad, own));
                    }
                }
                (across, Some(noise)) => {
                    for (i, (param, &grad)) in param.iter_mut().zip(grads).enumerate() {
                        let factor = across.map_or(own, |factors| factors[i]);
                        if ChannelStep::counts(grad.widen(), factor) {
                            let random = noise.bits((first + i) as u32)[0];
                            let bits = Noise::round(moved(op, *param, grad, factor), random);
                            *param = P::narrow(f32::from_bits(u32::from(bits) << 16));
                        }
                    }
                }
            });
        });
        Ok(())
    }))
}

#[inline(always)]
fn moved<P: Float, G: Float>(op: &ChannelStep, param: P, grad: G, factor: f32) -> f32 {
    ChannelStep::moved(param.widen(), grad.widen(), op.step * factor, op.keep)
}
