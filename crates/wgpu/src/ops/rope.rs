use gristmill_core::Result;
use gristmill_core::ops::Rope;

use super::{Run, dtype, elements, fits_row};
use crate::window::{Window, pieces};

pub(super) fn run(run: &mut Run, op: &Rope) -> Result<()> {
    let (rows, columns) = op.x.shape().rows_cols();
    let (positions, pairs) = op.cos.shape().rows_cols();
    let slot = run.ctx.fault_slot(run.serial)?;
    let fits = fits_row(run, columns)?;
    // Both tables as a whole: they are small beside what a binding shows.
    fits_row(run, positions * pairs)?;
    let cos = Window::of(&op.cos, run.buffers, 0, positions * pairs)?;
    let sin = Window::of(&op.sin, run.buffers, 0, positions * pairs)?;
    let (size, name) = (op.x.dtype().size(), dtype(op.x.dtype()));
    for (row0, rows) in pieces(rows, fits) {
        let x = Window::of(&op.x, run.buffers, row0 * columns, rows * columns)?;
        let places = Window::of(&op.positions, run.buffers, row0, rows)?;
        let scratch = run.ctx.scratch((rows * columns * size) as u64)?;
        let turned = Window::whole(&scratch);
        let kernel = run
            .ctx
            .kernel("rope")
            .def("ORDER", if op.interleaved { "interleaved" } else { "halves" })
            .read(&x)
            .write(&turned)
            .read(&cos)
            .read(&sin)
            .read(&places)
            .write(&run.ctx.faults.window())
            .count("columns", columns)
            .count("head_dim", op.head_dim)
            .count("pairs", pairs)
            .count("positions", positions.min(u32::MAX as usize))
            .param("x_at", x.at)
            .param("cos_at", cos.at)
            .param("sin_at", sin.at)
            .param("positions_at", places.at)
            .count("first", row0)
            .param("slot", slot);
        elements::finish(run.ctx, kernel, 0, name, size, rows * columns)?;
        let copy = run.ctx.kernel("copy");
        elements::dispatch(run.ctx, copy, Some(&turned), &x, name, size, rows * columns)?;
        run.ctx.done_with(scratch);
    }
    Ok(())
}
