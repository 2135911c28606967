use gristmill_core::Result;
use gristmill_core::ops::{ChannelFactors, flush};

use crate::access::Access;

pub(crate) fn run(op: &ChannelFactors, access: &Access) -> Result<()> {
    let eps = f64::from(ChannelFactors::EPS);
    let (scale, grad_scale) = (f64::from(op.scale), f64::from(op.grad_scale));
    let [direction, projected, gradient] =
        [&op.direction, &op.projected, &op.gradient].map(|t| access.input::<f32>(t));
    let (direction, projected, gradient) = (direction?, projected?, gradient?);
    let counts = |j: usize| [direction[j], projected[j], gradient[j]].iter().all(|x| x.is_finite());
    let channels = || (0..direction.len()).filter(|&j| counts(j));
    let square = |x: f32| f64::from(x).max(0.0);
    let ratio = |n: f64, r: f64| scale * n.sqrt() / (grad_scale * r.sqrt() + eps);
    let total = |of: &[f32]| channels().map(|j| square(of[j])).sum::<f64>();
    let of_all = op.whole.then(|| ratio(total(direction), total(projected)));
    let own = |j: usize| of_all.unwrap_or_else(|| ratio(square(direction[j]), square(projected[j])));
    let size = grad_scale * channels().map(|j| own(j).powi(2) * square(gradient[j])).sum::<f64>().sqrt();
    let mut limit = 1.0;
    if let Some(previous) = &op.previous {
        let previous = &mut access.output::<f32>(previous)?[0];
        let before = flush(*previous);
        if before.is_finite() && before != 0.0 {
            let growth = f64::from(ChannelFactors::GROWTH);
            limit = (size / (f64::from(before) + eps)).max(growth) / growth;
        }
        if (size as f32).is_finite() {
            *previous = flush((size / limit) as f32);
        }
    }
    let finite = (size as f32).is_finite();
    for (j, factor) in access.output::<f32>(&op.factors)?.iter_mut().enumerate() {
        *factor = if finite && counts(j) { (grad_scale * own(j) / limit) as f32 } else { 0.0 };
    }
    Ok(())
}
