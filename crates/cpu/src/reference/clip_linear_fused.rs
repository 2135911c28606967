use gristmill_core::Result;
use gristmill_core::ops::{ClipLinearFused, ClipRule};

use super::fail_at;
use super::linear_grad::{Layer, add_scaled};
use crate::access::Access;
use crate::number::with;

pub(super) fn run(op: &ClipLinearFused, access: &Access) -> Result<()> {
    let sizes = op.sizes();
    let offsets = access.indices(&op.offsets)?;
    fail_at(op, offsets.first_unordered(sizes.rows))?;
    let weights = op.weights.as_ref().map(|weights| access.input::<f32>(weights)).transpose()?;
    fail_at(op, weights.and_then(first_weight_of_neither))?;
    let norms = access.output::<f32>(&op.norms)?;
    let factors = access.output::<f32>(&op.factors)?;
    with!(op.x.dtype(), common T => {
        let (x, dy) = (access.input::<T>(&op.x)?, access.input::<T>(&op.dy)?);
        let layer = Layer { x, dy, offsets, d: sizes.d, p: sizes.p };
        for sample in 0..layer.samples() {
            let counts = weights.is_none_or(|weights| weights[sample] != 0.0);
            let squared = if counts { layer.squared_norm(sample, op.bias.is_some()) as f32 } else { 0.0 };
            (norms[sample], factors[sample]) = norm_and_factor(op, squared, counts);
        }
        add_scaled(access.output(&op.grad)?, factors, |sample| layer.gradient(sample));
        if let Some(bias) = &op.bias {
            add_scaled(access.output(bias)?, factors, |sample| layer.bias(sample));
        }
        Ok(())
    })
}

/// The first weight that is neither 0 nor 1, as the operation counts faults.
pub(crate) fn first_weight_of_neither(weights: &[f32]) -> Option<u64> {
    let sample = weights.iter().position(|&weight| weight != 0.0 && weight != 1.0)?;
    Some((weights.len() + sample) as u64)
}

/// What becomes of the square of a norm, if the sample counts.
pub(crate) fn norm_and_factor(op: &ClipLinearFused, squared: f32, counts: bool) -> (f32, f32) {
    let norm = if ClipRule::measured(squared) { ClipRule::norm(squared) } else { squared };
    if counts { (norm, op.rule.factor(squared, op.max_norm)) } else { (0.0, 0.0) }
}
