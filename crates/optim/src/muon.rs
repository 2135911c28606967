use gristmill_core::{DType, Result, Tensor};

use crate::linalg::{newton_schulz, sum_squares};
use crate::{MuonOptions, MuonScaling};

/// A step of Muon: the momentum moves, and the weight by its orthogonal factor. `lr` is the learning rate of the step,
/// `keep` what the weight is multiplied by first.
pub(crate) fn step(
    options: &MuonOptions,
    weight: &Tensor,
    gradient: &Tensor,
    momentum: &Tensor,
    grad_scale: f32,
    [lr, keep]: [f64; 2],
) -> Result<()> {
    let beta = options.momentum as f32;
    // What a gradient counts in the momentum, and in the update beside it.
    let share = match options.scaling {
        MuonScaling::Spectral => (1.0 - options.momentum) as f32,
        MuonScaling::Rms => 1.0,
    };
    momentum.axpby(share * grad_scale, gradient, beta)?;
    let update = momentum.copy()?;
    if options.nesterov {
        update.axpby(share * grad_scale, gradient, beta)?;
    }
    if weight.shape().rank() < 2 {
        return along(weight, &update, lr, keep);
    }
    let dtype = if options.bf16 { DType::Bf16 } else { DType::F32 };
    let factor = newton_schulz(&update, options.ns_steps, dtype)?;
    let (rows, columns) = weight.shape().rows_cols();
    let size = match options.scaling {
        MuonScaling::Spectral => (rows as f64 / columns as f64).max(1.0).sqrt(),
        MuonScaling::Rms => 0.2 * (rows.max(columns) as f64).sqrt(),
    };
    weight.axpby((-lr * size) as f32, &factor, keep as f32)
}

/// A step of a vector: along the update, brought to a length of `0.2 √elements`.
fn along(weight: &Tensor, update: &Tensor, lr: f64, keep: f64) -> Result<()> {
    let length = f64::from(sum_squares(update)?.to_vec::<f32>()?[0]).sqrt();
    let size = 0.2 * (weight.len() as f64).sqrt() / (length + 1e-7);
    weight.axpby((-lr * size) as f32, update, keep as f32)
}
