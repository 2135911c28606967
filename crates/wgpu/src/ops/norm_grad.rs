use gristmill_core::Result;
use gristmill_core::ops::{NormGrad, NormKind};

use super::{Run, dtype, elements, fits_row};
use crate::window::{Window, pieces};

pub(super) fn run(run: &mut Run, op: &NormGrad) -> Result<()> {
    let (rows, columns) = op.x.shape().rows_cols();
    let kind = match op.kind {
        NormKind::Rms => "rms",
        NormKind::Layer => "layer",
    };
    let fits = fits_row(run, columns.max(1))?.min(run.ctx.window_len(16));
    let weight = op.weight.as_ref().map(|w| Window::of(w, run.buffers, 0, columns)).transpose()?;
    for (row0, rows) in pieces(rows, fits) {
        let len = rows * columns;
        let of = |t: &gristmill_core::Tensor| Window::of(t, run.buffers, row0 * columns, len);
        let (x, dy, dx) = (of(&op.x)?, of(&op.dy)?, of(&op.dx)?);
        let dots = Window::of(&op.dots, run.buffers, row0, rows)?;
        let scratch = run.ctx.scratch(16 * rows as u64)?;
        let stats = Window::whole(&scratch);
        let mut kernel = run
            .ctx
            .kernel("norm_grad")
            .def("STAGE", "stats")
            .def("KIND", kind)
            .def("X", dtype(op.x.dtype()))
            .flag("WEIGHT", weight.is_some())
            .read(&x)
            .read(&dy)
            .write(&stats)
            .write(&dots)
            .unused(&["weight_at"])
            .count("columns", columns)
            .count("rows", rows)
            .param("x_at", x.at)
            .param("dy_at", dy.at)
            .param("dots_at", dots.at)
            .number("eps", op.eps);
        if let Some(weight) = &weight {
            kernel = kernel.read(weight).param("weight_at", weight.at);
        }
        kernel.run(run.ctx, rows, (2 * len * op.x.dtype().size()) as u64)?;
        let mut kernel = run
            .ctx
            .kernel("norm_grad")
            .def("STAGE", "apply")
            .flag("WEIGHT", weight.is_some())
            .read(&x)
            .read(&dy)
            .write(&dx)
            .read(&stats)
            .unused(&["weight_at"])
            .count("columns", columns)
            .param("x_at", x.at)
            .param("dy_at", dy.at);
        if let Some(weight) = &weight {
            kernel = kernel.read(weight).param("weight_at", weight.at);
        }
        elements::finish(run.ctx, kernel, dx.at, dtype(op.dx.dtype()), op.dx.dtype().size(), len)?;
        run.ctx.done_with(scratch);
    }
    Ok(())
}
