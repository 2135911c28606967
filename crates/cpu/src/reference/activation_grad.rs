use std::f64::consts::{FRAC_1_SQRT_2, PI};

use gristmill_core::Result;
use gristmill_core::ops::{ActivationGrad, ActivationKind};

use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &ActivationGrad, access: &Access) -> Result<()> {
    with!(op.x.dtype(), common T => {
        let (x, dy) = (access.input::<T>(&op.x)?, access.input::<T>(&op.dy)?);
        for ((out, x), dy) in access.output::<T>(&op.out)?.iter_mut().zip(x).zip(dy) {
            *out = T::nearest(dy.as_f64() * derivative(op.kind, x.as_f64()));
        }
        Ok(())
    })
}

fn derivative(kind: ActivationKind, x: f64) -> f64 {
    if x.is_infinite() {
        return if x > 0.0 { 1.0 } else { 0.0 };
    }
    // x · σ(z) · (1 − σ(z)) by the exponential that does not overflow.
    let logistic = |z: f64| 1.0 / (1.0 + (-z).exp());
    let slope = |z: f64| (-z.abs()).exp() / (1.0 + (-z.abs()).exp()).powi(2);
    match kind {
        ActivationKind::Silu => logistic(x) + x * slope(x),
        ActivationKind::Gelu => {
            0.5 * libm::erfc(-x * FRAC_1_SQRT_2) + x * (-0.5 * x * x).exp() / (2.0 * PI).sqrt()
        }
        ActivationKind::GeluTanh => {
            let c = 2.0 * (2.0 / PI).sqrt();
            let z = c * (x + 0.044_715 * x.powi(3));
            // Far out the slope is 0, and its factor beyond all numbers.
            let rest = if z.abs() > 700.0 { 0.0 } else { x * slope(z) * c * (1.0 + 0.134_145 * x * x) };
            logistic(z) + rest
        }
    }
}
