use gristmill_core::Result;
use gristmill_core::ops::{Activation, ActivationKind};

use super::elementwise::column_pieces;
use super::exp::{gelu, gelu_tanh, silu};
use super::lanes::dispatch;
use crate::access::Access;
use crate::float::Float;
use crate::number::with;

/// Values whose arguments are made before the function is taken of them; they stay in the first-level cache.
const BLOCK: usize = 512;

pub(super) fn run(op: &Activation, access: &Access) -> Result<()> {
    let (_, columns) = op.x.shape().rows_cols();
    let bias = op.bias.as_ref().map(|bias| access.input::<f32>(bias)).transpose()?;
    with!(op.x.dtype(), common T => {
        let x = access.input::<T>(&op.x)?;
        let times = op.times.as_ref().map(|times| access.input::<T>(times)).transpose()?;
        column_pieces::<T, BLOCK>(access.output::<T>(&op.out)?, columns, |at, column, out| {
            let n = out.len();
            let (x, bias) = (&x[at..][..n], bias.map(|bias| &bias[column..][..n]));
            let times = times.map(|times| &times[at..][..n]);
            dispatch(#[inline(always)] || activate(op.kind, x, bias, times, out));
        });
        Ok(())
    })
}

/// A piece of a row.
#[inline(always)]
fn activate<T: Float>(
    kind: ActivationKind,
    x: &[T],
    bias: Option<&[f32]>,
    times: Option<&[T]>,
    out: &mut [T],
) {
    let mut scratch = [0.0; BLOCK];
    let z = &mut scratch[..x.len()];
    match bias {
        None => z.iter_mut().zip(x).for_each(|(z, x)| *z = x.widen()),
        Some(bias) => z.iter_mut().zip(x).zip(bias).for_each(|((z, x), b)| *z = x.widen() + b),
    }
    match kind {
        ActivationKind::Gelu => z.iter_mut().for_each(|z| *z = gelu(*z)),
        ActivationKind::GeluTanh => z.iter_mut().for_each(|z| *z = gelu_tanh(*z)),
        ActivationKind::Silu => z.iter_mut().for_each(|z| *z = silu(*z)),
    }
    match times {
        None => out.iter_mut().zip(&*z).for_each(|(out, &z)| *out = T::narrow(z)),
        Some(times) => {
            for ((out, &z), t) in out.iter_mut().zip(&*z).zip(times) {
                *out = T::narrow(z * t.widen());
            }
        }
    }
}
