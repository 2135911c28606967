use gristmill_core::Result;
use gristmill_core::ops::RowNormScale;

use super::{BLOCK, Team, grid};
use crate::backend::Context;

/// Blocks that the sums of columns should have, and rows that a part of them has at the least.
const BLOCKS: usize = 1024;
const ROWS: usize = 32;

pub(super) fn run(op: &RowNormScale, cx: &mut Context<'_>) -> Result<()> {
    const NAME: &str = "row_norm_scale";
    let (rows, columns) = op.x.shape().rows_cols();
    let (dtype, x) = (op.x.dtype(), cx.at(&op.x)?);
    let vector = 16 / dtype.size();
    let wide = x % 16 == 0 && columns % vector == 0;
    let across = columns.div_ceil(BLOCK * if wide { vector } else { 1 });
    let row_parts = (BLOCKS / across.max(1)).min(rows / ROWS).max(1);
    let mut team = Team::new(cx, rows, columns, 8)?;
    // All of it anew: the team's part lies in the same memory.
    let [partials, factors, sums] = cx.scratch([8 * rows * team.parts, 8 * rows, 8 * row_parts * columns])?;
    team.partials = partials;
    let args = team
        .args()
        .u64(x)
        .u64(cx.at(&op.norms)?)
        .u64(cx.at(&op.factors)?)
        .u64(factors)
        .u64(sums)
        .u64(cx.at(&op.out)?)
        .size(columns)
        .u32(row_parts as u32)
        .f32(op.max_norm)
        .finish();
    team.launch(cx, NAME, &format!("_{dtype}"), &args)?;
    if columns == 0 {
        return Ok(());
    }
    let kernel = format!("row_norm_scale_columns_{}{dtype}", if wide { "wide_" } else { "" });
    cx.launch(NAME, kernel, grid([across, row_parts, 1])?, 0, &args)?;
    cx.launch(NAME, "row_norm_scale_sum", grid([columns.div_ceil(BLOCK), 1, 1])?, 0, &args)
}
