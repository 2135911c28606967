use gristmill_core::Result;
use gristmill_core::ops::GridSum;

use super::strided;
use crate::backend::Context;
use crate::driver::Args;

pub(super) fn run(op: &GridSum, cx: &mut Context<'_>) -> Result<()> {
    let (samples, n) = op.rows.shape().rows_cols();
    let args = Args::new()
        .u64(cx.at(&op.rows)?)
        .u64(cx.at(&op.factors)?)
        .u64(cx.at(&op.sums)?)
        .u64(cx.status)
        .size(samples)
        .size(n)
        .f32(op.reciprocal())
        .finish();
    cx.launch("grid_sum", "grid_sum", strided(n), 0, &args)
}
