use gristmill_core::Result;
use gristmill_core::ops::Nll;

use super::softmax::{Transform, rows};
use crate::access::Access;
use crate::float::Float;
use crate::number::with;
use crate::reference::fail_at;

pub(super) fn run(op: &Nll, access: &Access) -> Result<()> {
    let (_, columns) = op.logits.shape().rows_cols();
    let targets = access.indices(&op.targets)?;
    fail_at(op, targets.first_outside(op.vocab))?;
    let bias = op.bias.as_ref().map(|bias| access.input::<f32>(bias)).transpose()?;
    let transform = Transform { bias, softcap: op.softcap };
    let out = access.output::<f32>(&op.out)?;
    with!(op.logits.dtype(), common T => {
        let logits = access.input::<T>(&op.logits)?;
        rows(logits, [op.vocab, columns], transform, out, |row, partial| {
            let target = targets.at(row) as usize;
            partial.loss(transform.one(target, logits[row * columns + target].widen()))
        });
        Ok(())
    })
}
