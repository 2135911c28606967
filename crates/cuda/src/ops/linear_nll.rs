use gristmill_core::Result;
use gristmill_core::ops::LinearNll;

use super::matmul::{TILE, tile_bytes};
use super::{BLOCK, grid, logits};
use crate::backend::Context;
use crate::driver::Args;

/// Blocks that a launch should have, if there is work for as many: the vocabulary is cut into no more groups than
/// that, since each leaves a pair of numbers for every row.
const BLOCKS: usize = 1024;

pub(super) fn run(op: &LinearNll, cx: &mut Context<'_>) -> Result<()> {
    let (rows, d) = op.hidden.shape().rows_cols();
    if rows == 0 {
        return Ok(());
    }
    let (down, across) = (rows.div_ceil(TILE), op.vocab.div_ceil(TILE));
    let tiles = across.div_ceil(BLOCKS.div_ceil(down));
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
