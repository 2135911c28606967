use gristmill_core::Result;
use gristmill_core::ops::Nll;

use super::fail_at;
use super::softmax_stats::max_and_lse;
use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &Nll, access: &Access) -> Result<()> {
    let (_, columns) = op.logits.shape().rows_cols();
    let targets = access.indices(&op.targets)?;
    fail_at(op, targets.first_outside(op.vocab))?;
    let bias = op.bias.as_ref().map(|bias| access.input::<f32>(bias)).transpose()?;
    with!(op.logits.dtype(), common T => {
        let logits = access.input::<T>(&op.logits)?;
        for (row, out) in access.output::<f32>(&op.out)?.iter_mut().enumerate() {
            let logits = |j: usize| logits[row * columns + j].as_f64();
            *out = loss(op.vocab, logits, bias, op.softcap, targets.at(row) as usize) as f32;
        }
        Ok(())
    })
}

/// The loss of a row whose logits, before bias and cap, `logits` gives.
pub(super) fn loss(
    vocab: usize,
    logits: impl Fn(usize) -> f64,
    bias: Option<&[f32]>,
    softcap: Option<f32>,
    target: usize,
) -> f64 {
    let z: Vec<f64> = (0..vocab)
        .map(|j| {
            let z = logits(j) + bias.map_or(0.0, |bias| bias[j].into());
            softcap.map(f64::from).map_or(z, |cap| cap * (z / cap).tanh())
        })
        .collect();
    max_and_lse(z.iter().copied()).1 - z[target]
}
