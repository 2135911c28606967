use gristmill_core::ops::{ChannelStep, Noise};
use gristmill_core::{DType, Result};

use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &ChannelStep, access: &Access) -> Result<()> {
    let (_, columns) = op.param.shape().rows_cols();
    let factors = access.input::<f32>(&op.factors)?;
    with!(op.grad.dtype(), common G => with!(op.param.dtype(), common P => {
        let grads = access.input::<G>(&op.grad)?;
        for (i, param) in access.output::<P>(&op.param)?.iter_mut().enumerate() {
            let factor = factors[if op.columns { i % columns } else { i / columns }];
            if !ChannelStep::counts(grads[i].as_f64() as f32, factor) {
                continue;
            }
            let by = f64::from(op.step) * f64::from(factor) * grads[i].as_f64();
            *param = stored(op, i, f64::from(op.keep) * param.as_f64() - by);
        }
        Ok(())
    }))
}

fn stored<T: Number>(op: &ChannelStep, i: usize, x: f64) -> T {
    match op.noise {
        Some(noise) if T::DTYPE == DType::Bf16 => {
            let bits = Noise::round(x as f32, noise.bits(i as u32)[0]);
            T::nearest(f64::from(f32::from_bits(u32::from(bits) << 16)))
        }
        _ => T::nearest(x),
    }
}
