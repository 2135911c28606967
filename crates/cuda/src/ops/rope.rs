use gristmill_core::Result;
use gristmill_core::ops::Rope;

use super::{by_warps, signed};
use crate::backend::Context;
use crate::driver::Args;

pub(super) fn run(op: &Rope, cx: &mut Context<'_>) -> Result<()> {
    let (rows, columns) = op.x.shape().rows_cols();
    let (positions, pairs) = op.cos.shape().rows_cols();
    if rows == 0 {
        return Ok(());
    }
    let args = Args::new()
        .u64(cx.at(&op.x)?)
        .u64(cx.at(&op.cos)?)
        .u64(cx.at(&op.sin)?)
        .u64(cx.at(&op.positions)?)
        .u64(cx.status)
        .size(rows)
        .size(positions)
        .u32((columns / op.head_dim) as u32)
        .u32(op.head_dim as u32)
        .u32(pairs as u32)
        .u32(op.interleaved.into())
        .u32(signed(&op.positions))
        .finish();
    cx.launch("rope", format!("rope_{}", op.x.dtype()), by_warps(rows), 0, &args)
}
