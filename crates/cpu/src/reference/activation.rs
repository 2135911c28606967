use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

use gristmill_core::Result;
use gristmill_core::ops::{Activation, ActivationKind};

use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &Activation, access: &Access) -> Result<()> {
    let (_, columns) = op.x.shape().rows_cols();
    let bias = op.bias.as_ref().map(|bias| access.input::<f32>(bias)).transpose()?;
    with!(op.x.dtype(), common T => {
        let x = access.input::<T>(&op.x)?;
        let times = op.times.as_ref().map(|times| access.input::<T>(times)).transpose()?;
        for (i, out) in access.output::<T>(&op.out)?.iter_mut().enumerate() {
            let z = x[i].as_f64() + bias.map_or(0.0, |bias| bias[i % columns].into());
            *out = T::nearest(activate(op.kind, z) * times.map_or(1.0, |times| times[i].as_f64()));
        }
        Ok(())
    })
}

fn activate(kind: ActivationKind, x: f64) -> f64 {
    if x == f64::NEG_INFINITY {
        return 0.0;
    }
    match kind {
        ActivationKind::Gelu => x * 0.5 * libm::erfc(-x * FRAC_1_SQRT_2),
        ActivationKind::GeluTanh => x / (1.0 + (-2.0 * FRAC_2_PI.sqrt() * (x + 0.044_715 * x.powi(3))).exp()),
        ActivationKind::Silu => x / (1.0 + (-x).exp()),
    }
}
