use gristmill_core::Result;
use gristmill_core::ops::{Norm, NormKind};

use super::elementwise::row_pieces;
use super::lanes::{dispatch, sum};
use crate::access::Access;
use crate::float::Float;
use crate::number::with;

pub(super) fn run(op: &Norm, access: &Access) -> Result<()> {
    let (_, columns) = op.x.shape().rows_cols();
    let weight = op.weight.as_ref().map(|weight| access.input::<f32>(weight)).transpose()?;
    let bias = op.bias.as_ref().map(|bias| access.input::<f32>(bias)).transpose()?;
    with!(op.x.dtype(), common T => with!(op.out.dtype(), common O => {
        let x = access.input::<T>(&op.x)?;
        row_pieces(access.output::<O>(&op.out)?, columns, |first, out| {
            let x = &x[first * columns..][..out.len()];
            dispatch(#[inline(always)] || {
                for (x, out) in x.chunks_exact(columns).zip(out.chunks_exact_mut(columns)) {
                    normalise(op.kind, op.eps, x, [weight, bias], out);
                }
            });
        });
        Ok(())
    }))
}

/// A row, in `f64` up to weight and bias.
#[inline(always)]
fn normalise<T: Float, O: Float>(
    kind: NormKind,
    eps: f32,
    x: &[T],
    [weight, bias]: [Option<&[f32]>; 2],
    out: &mut [O],
) {
    let n = x.len() as f64;
    let mean = match kind {
        NormKind::Rms => 0.0,
        NormKind::Layer => sum(x, |x| x) / n,
    };
    let scale = 1.0 / (sum(x, |x| (x - mean) * (x - mean)) / n + f64::from(eps)).sqrt();
    let z = |x: &T| ((x.as_f64() - mean) * scale) as f32;
    match (weight, bias) {
        (None, None) => out.iter_mut().zip(x).for_each(|(out, x)| *out = O::narrow(z(x))),
        (Some(weight), None) => {
            for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
                *out = O::narrow(z(x) * w);
            }
        }
        (None, Some(bias)) => {
            for ((out, x), b) in out.iter_mut().zip(x).zip(bias) {
                *out = O::narrow(z(x) + b);
            }
        }
        (Some(weight), Some(bias)) => {
            for (((out, x), w), b) in out.iter_mut().zip(x).zip(weight).zip(bias) {
                *out = O::narrow(z(x) * w + b);
            }
        }
    }
}
