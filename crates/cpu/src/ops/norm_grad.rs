use gristmill_core::Result;
use gristmill_core::ops::{NormGrad, NormKind};
use rayon::prelude::*;

use super::lanes::{LANES, dispatch, sum, totals};
use super::{PARALLEL, TASK};
use crate::access::Access;
use crate::float::Float;
use crate::number::with;

pub(super) fn run(op: &NormGrad, access: &Access) -> Result<()> {
    let (_, columns) = op.x.shape().rows_cols();
    let weight = op.weight.as_ref().map(|weight| access.input::<f32>(weight)).transpose()?;
    let dots = access.output::<f32>(&op.dots)?;
    if columns == 0 {
        dots.fill(0.0);
        return Ok(());
    }
    with!(op.x.dtype(), common T => {
        let (x, dy) = (access.input::<T>(&op.x)?, access.input::<T>(&op.dy)?);
        let dx = access.output::<T>(&op.dx)?;
        if x.len() < PARALLEL {
            rows(op, [x, dy], weight, dx, dots);
        } else {
            let each = TASK.div_ceil(columns);
            let pieces = x.par_chunks(each * columns).zip(dy.par_chunks(each * columns));
            let outputs = dx.par_chunks_mut(each * columns).zip(dots.par_chunks_mut(each));
            pieces.zip(outputs).for_each(|((x, dy), (dx, dots))| rows(op, [x, dy], weight, dx, dots));
        }
        Ok(())
    })
}

/// Whole rows.
fn rows<T: Float>(op: &NormGrad, [x, dy]: [&[T]; 2], weight: Option<&[f32]>, dx: &mut [T], dots: &mut [f32]) {
    let (_, columns) = op.x.shape().rows_cols();
    dispatch(
        #[inline(always)]
        || {
            let inputs = x.chunks_exact(columns).zip(dy.chunks_exact(columns));
            for (((x, dy), dx), dot) in inputs.zip(dx.chunks_exact_mut(columns)).zip(dots) {
                *dot = row(op, x, dy, weight, dx);
            }
        },
    );
}

/// A row, with sums in `f64`; gives the inner product.
#[inline(always)]
fn row<T: Float>(op: &NormGrad, x: &[T], dy: &[T], weight: Option<&[f32]>, dx: &mut [T]) -> f32 {
    let n = x.len() as f64;
    let layer = op.kind == NormKind::Layer;
    let mean = if layer { sum(x, |x| x) / n } else { 0.0 };
    let scale = 1.0 / (sum(x, |x| (x - mean) * (x - mean)) / n + f64::from(op.eps)).sqrt();
    let z = |x: T| (x.as_f64() - mean) * scale;
    let mut sums = [[0.0; LANES]; 3];
    let ((xs, x_rest), (dys, dy_rest)) = (x.as_chunks::<LANES>(), dy.as_chunks::<LANES>());
    match weight {
        None => {
            for (x, dy) in xs.iter().zip(dys) {
                add(&mut sums, x, dy, |_| 1.0, z);
            }
            add(&mut sums, x_rest, dy_rest, |_| 1.0, z);
        }
        Some(weight) => {
            let (ws, w_rest) = weight.as_chunks::<LANES>();
            for ((x, dy), w) in xs.iter().zip(dys).zip(ws) {
                add(&mut sums, x, dy, |i| f64::from(w[i]), z);
            }
            add(&mut sums, x_rest, dy_rest, |i| f64::from(w_rest[i]), z);
        }
    }
    let [along, shift, dot] = totals(&sums);
    let (along, shift) = (along / n, if layer { shift / n } else { 0.0 });
    let moved = |x: T, g: f64| T::narrow((scale * (g - shift - z(x) * along)) as f32);
    match weight {
        None => {
            for ((dx, &x), dy) in dx.iter_mut().zip(x).zip(dy) {
                *dx = moved(x, dy.as_f64());
            }
        }
        Some(weight) => {
            for (((dx, &x), dy), &w) in dx.iter_mut().zip(x).zip(dy).zip(weight) {
                *dx = moved(x, dy.as_f64() * f64::from(w));
            }
        }
    }
    dot as f32
}

/// Adds a term to a lane of each of the three sums, for at most so many columns: of `g ⊙ x̂`, `g` and `dy ⊙ x̂`.
#[inline(always)]
fn add<T: Float>(
    [along, shift, dot]: &mut [[f64; LANES]; 3],
    x: &[T],
    dy: &[T],
    weight: impl Fn(usize) -> f64,
    z: impl Fn(T) -> f64,
) {
    for i in 0..x.len().min(LANES) {
        let (z, dy) = (z(x[i]), dy[i].as_f64());
        let g = dy * weight(i);
        along[i] += g * z;
        shift[i] += g;
        dot[i] += dy * z;
    }
}
