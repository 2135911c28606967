use gristmill_core::Result;
use gristmill_core::ops::GatherColumns;

use super::{Run, dtype, elements, fits_row};
use crate::window::{Window, pieces};

pub(super) fn run(run: &mut Run, op: &GatherColumns) -> Result<()> {
    let (rows, columns) = op.x.shape().rows_cols();
    let k = op.index.len();
    let slot = run.ctx.fault_slot(run.serial)?;
    let fits = fits_row(run, columns.max(k))?;
    let index = Window::of(&op.index, run.buffers, 0, k)?;
    for (row0, rows) in pieces(rows, fits) {
        let x = Window::of(&op.x, run.buffers, row0 * columns, rows * columns)?;
        let out = Window::of(&op.out, run.buffers, row0 * k, rows * k)?;
        let kernel = run
            .ctx
            .kernel("gather_columns")
            .read(&x)
            .read(&index)
            .write(&out)
            .write(&run.ctx.faults.window())
            .count("k", k)
            .count("columns", columns)
            .param("x_at", x.at)
            .param("index_at", index.at)
            .param("slot", slot);
        let size = op.out.dtype().size();
        elements::finish(run.ctx, kernel, out.at, dtype(op.out.dtype()), size, rows * k)?;
    }
    Ok(())
}
