use gristmill_core::Result;
use gristmill_core::ops::BiasAdd;

use super::columns::{beside, cut};
use super::{Run, dtype, elements};
use crate::window::Window;

pub(super) fn run(run: &mut Run, op: &BiasAdd) -> Result<()> {
    let (rows, columns) = op.x.shape().rows_cols();
    let fits = run.ctx.window_len(4);
    for piece in cut(rows, columns, fits) {
        let x = Window::of(&op.x, run.buffers, piece.first, piece.len)?;
        let (bias, column) = beside(run, &op.bias, columns, fits, &piece)?;
        let kernel = run
            .ctx
            .kernel("bias_add")
            .write(&x)
            .read(&bias)
            .param("bias_at", bias.at)
            .count("column0", column)
            .count("columns", columns);
        elements::finish(run.ctx, kernel, x.at, dtype(op.x.dtype()), op.x.dtype().size(), piece.len)?;
    }
    Ok(())
}
