use gristmill_core::Result;
use gristmill_core::ops::Gather;

use super::{by_warps, signed};
use crate::backend::Context;
use crate::driver::Args;

pub(super) fn run(op: &Gather, cx: &mut Context<'_>) -> Result<()> {
    let (vocab, d) = op.table.shape().rows_cols();
    let rows = op.ids.len();
    if rows == 0 {
        return Ok(());
    }
    let args = Args::new()
        .u64(cx.at(&op.table)?)
        .u64(cx.at(&op.ids)?)
        .u64(cx.status)
        .u64(cx.at(&op.out)?)
        .size(rows)
        .size(d)
        .size(vocab)
        .u32(signed(&op.ids))
        .finish();
    let kernel = format!("gather_{}_{}", op.table.dtype(), op.out.dtype());
    cx.launch("gather", kernel, by_warps(rows), 0, &args)
}
