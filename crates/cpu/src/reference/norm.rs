use gristmill_core::Result;
use gristmill_core::ops::{Norm, NormKind};

use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &Norm, access: &Access) -> Result<()> {
    let (_, columns) = op.x.shape().rows_cols();
    let weight = op.weight.as_ref().map(|weight| access.input::<f32>(weight)).transpose()?;
    let bias = op.bias.as_ref().map(|bias| access.input::<f32>(bias)).transpose()?;
    with!(op.x.dtype(), common T => with!(op.out.dtype(), common O => {
        let x = access.input::<T>(&op.x)?;
        let rows = x.chunks(columns.max(1)).zip(access.output::<O>(&op.out)?.chunks_mut(columns.max(1)));
        for (row, out) in rows {
            let mean_of = |f: &dyn Fn(f64) -> f64| row.iter().map(|x| f(x.as_f64())).sum::<f64>() / columns as f64;
            let mean = match op.kind {
                NormKind::Rms => 0.0,
                NormKind::Layer => mean_of(&|x| x),
            };
            let scale = 1.0 / (mean_of(&|x| (x - mean) * (x - mean)) + f64::from(op.eps)).sqrt();
            for (j, (out, x)) in out.iter_mut().zip(row).enumerate() {
                let weight = weight.map_or(1.0, |weight| weight[j].into());
                let bias = bias.map_or(0.0, |bias| bias[j].into());
                *out = O::nearest((x.as_f64() - mean) * scale * weight + bias);
            }
        }
        Ok(())
    }))
}
