use gristmill_core::Result;
use gristmill_core::ops::{LowRankAdam, LowRankSizes};

use super::adamw::{direction, move_moments, stored};
use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &LowRankAdam, access: &Access) -> Result<()> {
    let LowRankSizes { rows, columns, rank, kept, depth } = op.sizes();
    let floats = |tensor: &gristmill_core::Tensor| -> Result<Vec<f64>> {
        with!(tensor.dtype(), common T => Ok(access.input::<T>(tensor)?.iter().map(|x| x.as_f64()).collect()))
    };
    let (grad, basis) = (floats(&op.grad)?, floats(&op.basis)?);
    // The element of the gradient in this row of the state, and this row of the basis.
    let at = |i: usize, k: usize| grad[if op.right { i * columns + k } else { k * columns + i }];
    let project = |i: usize, j: usize| (0..depth).map(|k| at(i, k) * basis[k * rank + j]).sum::<f64>() as f32;
    let projected: Vec<f32> = (0..kept * rank).map(|i| project(i / rank, i % rank)).collect();
    let moved = move_moments(&op.moments, &op.rule, op.noise, access, &projected)?;
    let direction: Vec<f64> = moved.into_iter().map(|moved| direction(&op.rule, moved)).collect();
    with!(op.weight.dtype(), common W => {
        let weight = access.output::<W>(&op.weight)?;
        for (i, weight) in weight.iter_mut().enumerate().take(rows * columns) {
            let (of_state, of_basis) = if op.right { (i / columns, i % columns) } else { (i % columns, i / columns) };
            let term = |j: usize| direction[of_state * rank + j] * basis[of_basis * rank + j];
            let back: f64 = (0..rank).map(term).sum();
            let kept = if op.rule.keep == 0.0 { 0.0 } else { f64::from(op.rule.keep) * weight.as_f64() };
            *weight = stored(op.noise, i, 0, kept - f64::from(op.rule.step) * back);
        }
        Ok(())
    })
}
