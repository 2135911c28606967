use gristmill_core::Result;
use gristmill_core::ops::{NormGrad, NormKind};

use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &NormGrad, access: &Access) -> Result<()> {
    let (_, columns) = op.x.shape().rows_cols();
    let weight = op.weight.as_ref().map(|weight| access.input::<f32>(weight)).transpose()?;
    with!(op.x.dtype(), common T => {
        let (x, dy) = (access.input::<T>(&op.x)?, access.input::<T>(&op.dy)?);
        let dx = access.output::<T>(&op.dx)?;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / columns as f64;
        for (r, dot) in access.output::<f32>(&op.dots)?.iter_mut().enumerate() {
            let numbers = |t: &[T]| t[r * columns..][..columns].iter().map(|x| x.as_f64()).collect::<Vec<_>>();
            let (x, dy) = (numbers(x), numbers(dy));
            let center = if op.kind == NormKind::Layer { mean(&x) } else { 0.0 };
            let squares: Vec<f64> = x.iter().map(|x| (x - center).powi(2)).collect();
            let scale = 1.0 / (mean(&squares) + f64::from(op.eps)).sqrt();
            let normal: Vec<f64> = x.iter().map(|x| (x - center) * scale).collect();
            let g: Vec<f64> =
                dy.iter().enumerate().map(|(j, dy)| dy * weight.map_or(1.0, |w| f64::from(w[j]))).collect();
            let products: Vec<f64> = g.iter().zip(&normal).map(|(g, x)| g * x).collect();
            let shift = if op.kind == NormKind::Layer { mean(&g) } else { 0.0 };
            let along = mean(&products);
            for (j, dx) in dx[r * columns..][..columns].iter_mut().enumerate() {
                *dx = T::nearest(scale * (g[j] - shift - normal[j] * along));
            }
            *dot = dy.iter().zip(&normal).map(|(dy, x)| dy * x).sum::<f64>() as f32;
        }
        Ok(())
    })
}
