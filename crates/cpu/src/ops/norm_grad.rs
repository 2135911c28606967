use gristmill_core::Result;
use gristmill_core::ops::{NormGrad, NormKind};
use rayon::prelude::*;

use super::lanes::{dispatch, sum};
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
    let mut lanes = [[0.0f64; LANES]; 3];
    for j in 0..x.len() {
        let (z, dy) = ((x[j].as_f64() - mean) * scale, dy[j].as_f64());
        let g = dy * weight.map_or(1.0, |w| f64::from(w[j]));
        lanes[0][j % LANES] += g * z;
        lanes[1][j % LANES] += g;
        lanes[2][j % LANES] += dy * z;
    }
    let [along, shift, dot] = lanes.map(|lanes| sum(&lanes, |x| x));
    let (along, shift) = (along / n, if layer { shift / n } else { 0.0 });
    for j in 0..x.len() {
        let z = (x[j].as_f64() - mean) * scale;
        let g = dy[j].as_f64() * weight.map_or(1.0, |w| f64::from(w[j]));
        dx[j] = T::narrow((scale * (g - shift - z * along)) as f32);
    }
    dot as f32
}

/// Sums that run beside each other.
const LANES: usize = 8;
