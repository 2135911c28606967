use gristmill_core::Result;
use gristmill_core::ops::LinearNll;

use super::fail_at;
use super::nll::loss;
use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &LinearNll, access: &Access) -> Result<()> {
    let (_, d) = op.hidden.shape().rows_cols();
    let targets = access.indices(&op.targets)?;
    fail_at(op, targets.first_outside(op.vocab))?;
    let bias = op.bias.as_ref().map(|bias| access.input::<f32>(bias)).transpose()?;
    with!(op.hidden.dtype(), common T => {
        let (hidden, head) = (access.input::<T>(&op.hidden)?, access.input::<T>(&op.head)?);
        for (row, out) in access.output::<f32>(&op.out)?.iter_mut().enumerate() {
            let hidden = &hidden[row * d..][..d];
            let logits = |j: usize| {
                hidden.iter().zip(&head[j * d..][..d]).map(|(h, w)| h.as_f64() * w.as_f64()).sum()
            };
            *out = loss(op.vocab, logits, bias, op.softcap, targets.at(row) as usize) as f32;
        }
        Ok(())
    })
}
