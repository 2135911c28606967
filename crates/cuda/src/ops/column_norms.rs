use gristmill_core::Result;
use gristmill_core::ops::ColumnNorms;

use super::{BLOCK, grid};
use crate::backend::Context;
use crate::driver::Args;

/// Blocks that keep a device busy, and rows that a part has at the least.
const BLOCKS: usize = 1024;
const ROWS: usize = 32;

pub(super) fn run(op: &ColumnNorms, cx: &mut Context<'_>) -> Result<()> {
    const NAME: &str = "column_norms";
    let (rows, columns) = op.x.shape().rows_cols();
    if columns == 0 {
        return Ok(());
    }
    let (dtype, x) = (op.x.dtype(), cx.at(&op.x)?);
    let vector = 16 / dtype.size();
    let wide = x % 16 == 0 && columns % vector == 0;
    let across = columns.div_ceil(BLOCK * if wide { vector } else { 1 });
    let parts = (BLOCKS / across).min(rows / ROWS).max(1);
    let [sums] = cx.scratch([8 * parts * columns])?;
    let args =
        Args::new().u64(x).u64(sums).u64(cx.at(&op.out)?).size(rows).size(columns).size(parts).finish();
    let kernel = format!("column_norms_{}{dtype}", if wide { "wide_" } else { "" });
    cx.launch(NAME, kernel, grid([across, parts, 1])?, 0, &args)?;
    cx.launch(NAME, "column_norms_roots", grid([columns.div_ceil(BLOCK), 1, 1])?, 0, &args)
}
