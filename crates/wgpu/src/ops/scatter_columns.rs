use gristmill_core::Result;
use gristmill_core::ops::ScatterColumns;

use super::{Run, dtype, fits_row};
use crate::window::{Window, pieces};

pub(super) fn run(run: &mut Run, op: &ScatterColumns) -> Result<()> {
    let (rows, columns) = op.out.shape().rows_cols();
    let (k, size) = (op.index.len(), op.out.dtype().size());
    let slot = run.ctx.fault_slot(run.serial)?;
    let fits = fits_row(run, columns.max(k))?;
    let index = Window::of(&op.index, run.buffers, 0, k)?;
    for (row0, rows) in pieces(rows, fits) {
        let y = Window::of(&op.y, run.buffers, row0 * k, rows * k)?;
        let out = Window::of(&op.out, run.buffers, row0 * columns, rows * columns)?;
        run.ctx
            .kernel("scatter_columns")
            .def("OUT", dtype(op.out.dtype()))
            .read(&y)
            .read(&index)
            .write(&out)
            .write(&run.ctx.faults.window())
            .count("n", rows * k)
            .count("k", k)
            .count("columns", columns)
            .param("y_at", y.at)
            .param("out_at", out.at)
            .param("index_at", index.at)
            .param("slot", slot)
            .run(run.ctx, (rows * k).div_ceil(256), (3 * rows * k * size) as u64)?;
    }
    Ok(())
}
