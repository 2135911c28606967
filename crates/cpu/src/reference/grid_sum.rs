use gristmill_core::Result;
use gristmill_core::ops::GridSum;

use super::fail_at;
use crate::access::Access;

pub(super) fn run(op: &GridSum, access: &Access) -> Result<()> {
    let (_, n) = op.rows.shape().rows_cols();
    let rows = access.input::<f32>(&op.rows)?;
    let factors = access.input::<f32>(&op.factors)?;
    let sums = access.output::<u32>(&op.sums)?;
    for (row, &factor) in factors.iter().enumerate().filter(|(_, factor)| **factor != 0.0) {
        for (x, sum) in rows[row * n..][..n].iter().zip(sums.chunks_exact_mut(2)) {
            let steps = (factor * x * op.reciprocal()).round_ties_even();
            if steps.is_nan() || steps.abs() >= 2f32.powi(31) {
                return fail_at(op, Some(row as u64));
            }
            let before = u64::from(sum[1]) << 32 | u64::from(sum[0]);
            let after = before.wrapping_add_signed(steps as i64);
            sum.copy_from_slice(&[after as u32, (after >> 32) as u32]);
        }
    }
    Ok(())
}
