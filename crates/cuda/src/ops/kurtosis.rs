use gristmill_core::Result;
use gristmill_core::ops::Kurtosis;

use super::{BLOCK, WARP, by_warps};
use crate::backend::Context;
use crate::driver::Args;

/// Columns from which on a block takes a row.
const LONG: usize = 1024;

pub(super) fn run(op: &Kurtosis, cx: &mut Context<'_>) -> Result<()> {
    let (rows, columns) = op.x.shape().rows_cols();
    if rows == 0 {
        return Ok(());
    }
    let long = columns > LONG;
    let args = Args::new()
        .u64(cx.at(&op.x)?)
        .u64(cx.at(&op.out)?)
        .size(rows)
        .size(columns)
        .u32(if long { BLOCK } else { WARP } as u32)
        .u32(op.centered.into())
        .finish();
    let blocks = if long { by_warps(rows * (BLOCK / WARP)) } else { by_warps(rows) };
    // A sum for each warp.
    let shared = if long { 8 * BLOCK / WARP } else { 0 };
    cx.launch("kurtosis", format!("kurtosis_{}", op.x.dtype()), blocks, shared, &args)
}
