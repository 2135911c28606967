use gristmill_core::Result;
use gristmill_core::ops::LinearNll;

use super::matmul::{TILE, tile_bytes};
use super::{BLOCK, grid, logits};
use crate::backend::Context;
use crate::driver::Args;

/// Groups that the vocabulary is cut into at most, since each leaves a pair of numbers for every row. How many there are
/// must not depend on the rows: a row has the same bits in whatever batch it comes.
const GROUPS: usize = 128;

pub(super) fn run(op: &LinearNll, cx: &mut Context<'_>) -> Result<()> {
    let (rows, d) = op.hidden.shape().rows_cols();
    if rows == 0 {
        return Ok(());
    }
    let (down, across) = (rows.div_ceil(TILE), op.vocab.div_ceil(TILE));
    let tiles = across.div_ceil(GROUPS);
    let groups = across.div_ceil(tiles);
    let [partials, target_logits] = cx.scratch([8 * groups * rows, 4 * rows])?;
    let args = logits(Args::new(), cx, (op.bias.as_ref(), op.vocab, op.softcap), &op.targets)?
        .u64(cx.at(&op.hidden)?)
        .u64(cx.at(&op.head)?)
        .u64(cx.at(&op.out)?)
        .u64(partials)
        .u64(target_logits)
        .size(rows)
        .size(d)
        .size(groups)
        .size(tiles)
        .finish();
    // A running pair and a target for each row of the tile.
    let shared = tile_bytes(op.hidden.dtype()) + TILE * (8 + 8);
    let kernel = format!("linear_nll_{}", op.hidden.dtype());
    cx.launch("linear_nll", kernel, grid([down * groups, 1, 1])?, shared, &args)?;
    cx.launch("linear_nll", "linear_nll_merge", grid([rows.div_ceil(BLOCK), 1, 1])?, 0, &args)
}
