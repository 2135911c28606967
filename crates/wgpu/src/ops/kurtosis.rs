use gristmill_core::Result;
use gristmill_core::ops::Kurtosis;

use super::{Run, dtype, fits_row};
use crate::window::{Window, pieces};

pub(super) fn run(run: &mut Run, op: &Kurtosis) -> Result<()> {
    let (rows, columns) = op.x.shape().rows_cols();
    for (row0, rows) in pieces(rows, fits_row(run, columns.max(1))?) {
        let x = Window::of(&op.x, run.buffers, row0 * columns, rows * columns)?;
        let out = Window::of(&op.out, run.buffers, row0, rows)?;
        run.ctx
            .kernel("kurtosis")
            .def("X", dtype(op.x.dtype()))
            .flag("CENTERED", op.centered)
            .read(&x)
            .write(&out)
            .count("columns", columns)
            .count("rows", rows)
            .param("x_at", x.at)
            .param("out_at", out.at)
            .run(run.ctx, rows, (rows * columns * op.x.dtype().size()) as u64)?;
    }
    Ok(())
}
