use gristmill_core::Result;
use gristmill_core::ops::{ActivationGrad, ActivationKind};

use super::elementwise::pieces;
use super::exp::{gelu_grad, gelu_tanh_grad, silu_grad};
use super::lanes::dispatch;
use crate::access::Access;
use crate::float::Float;
use crate::number::with;

pub(super) fn run(op: &ActivationGrad, access: &Access) -> Result<()> {
    with!(op.x.dtype(), common T => {
        let (x, dy) = (access.input::<T>(&op.x)?, access.input::<T>(&op.dy)?);
        pieces(access.output::<T>(&op.out)?, |start, out| {
            let (x, dy) = (&x[start..][..out.len()], &dy[start..][..out.len()]);
            dispatch(#[inline(always)] || match op.kind {
                ActivationKind::Gelu => each(x, dy, out, gelu_grad),
                ActivationKind::GeluTanh => each(x, dy, out, gelu_tanh_grad),
                ActivationKind::Silu => each(x, dy, out, silu_grad),
            });
        });
        Ok(())
    })
}

#[inline(always)]
fn each<T: Float>(x: &[T], dy: &[T], out: &mut [T], derivative: impl Fn(f32) -> f32) {
    for ((out, x), dy) in out.iter_mut().zip(x).zip(dy) {
        *out = T::narrow(dy.widen() * derivative(x.widen()));
    }
}
