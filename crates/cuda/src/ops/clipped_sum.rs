use gristmill_core::Result;
use gristmill_core::ops::ClippedSum;

use super::strided;
use crate::backend::Context;
use crate::driver::Args;

pub(super) fn run(op: &ClippedSum, cx: &mut Context<'_>) -> Result<()> {
    let (samples, n) = op.rows.shape().rows_cols();
    let args = Args::new()
        .u64(cx.at(&op.rows)?)
        .u64(cx.at(&op.factors)?)
        .u64(cx.at(&op.out)?)
        .size(samples)
        .size(n)
        .finish();
    cx.launch("clipped_sum", "clipped_sum", strided(n), 0, &args)
}
