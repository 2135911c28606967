use gristmill_core::Result;
use gristmill_core::ops::GridSum;

use super::Run;
use super::clipped_sum::{Tile, tiles};
use crate::window::Window;

pub(super) fn run(run: &mut Run, op: &GridSum) -> Result<()> {
    let (samples, n) = op.rows.shape().rows_cols();
    let slot = run.ctx.fault_slot(run.serial)?;
    for Tile { column0, columns, windows } in tiles(samples, n, run.ctx.window_len(8)) {
        let sums = Window::of(&op.sums, run.buffers, 2 * column0, 2 * columns)?;
        for (row0, shown) in windows {
            let rows = Window::of(&op.rows, run.buffers, row0 * n + column0, (shown - 1) * n + columns)?;
            let factors = Window::of(&op.factors, run.buffers, row0, shown)?;
            run.ctx
                .kernel("grid_sum")
                .read(&rows)
                .read(&factors)
                .write(&sums)
                .write(&run.ctx.faults.window())
                .count("columns", columns)
                .count("stride", n)
                .count("rows", shown)
                .count("row0", row0)
                .param("rows_at", rows.at)
                .param("factors_at", factors.at)
                .param("sums_at", sums.at)
                .number("reciprocal", op.reciprocal())
                .param("slot", slot)
                .run(run.ctx, columns.div_ceil(256), 4 * (shown * columns) as u64)?;
        }
    }
    Ok(())
}
