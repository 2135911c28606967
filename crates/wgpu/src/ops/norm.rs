use gristmill_core::Result;
use gristmill_core::ops::{Norm, NormKind};

use super::{Run, dtype, elements, fits_row};
use crate::window::{Window, pieces};

pub(super) fn run(run: &mut Run, op: &Norm) -> Result<()> {
    let (rows, columns) = op.x.shape().rows_cols();
    if op.x.is_empty() {
        return Ok(());
    }
    let fits = fits_row(run, columns)?.min(run.ctx.window_len(8));
    let kind = match op.kind {
        NormKind::Rms => "rms",
        NormKind::Layer => "layer",
    };
    let whole = |t: &gristmill_core::Tensor| Window::of(t, run.buffers, 0, columns);
    let weight = op.weight.as_ref().map(whole).transpose()?;
    let bias = op.bias.as_ref().map(whole).transpose()?;
    for (row0, rows) in pieces(rows, fits) {
        let x = Window::of(&op.x, run.buffers, row0 * columns, rows * columns)?;
        let out = Window::of(&op.out, run.buffers, row0 * columns, rows * columns)?;
        let scratch = run.ctx.scratch(8 * rows as u64)?;
        let stats = Window::whole(&scratch);
        run.ctx
            .kernel("norm")
            .def("STAGE", "stats")
            .def("KIND", kind)
            .def("X", dtype(op.x.dtype()))
            .read(&x)
            .write(&stats)
            .count("columns", columns)
            .count("rows", rows)
            .param("x_at", x.at)
            .number("eps", op.eps)
            .run(run.ctx, rows, (rows * columns * op.x.dtype().size()) as u64)?;
        let mut kernel = run
            .ctx
            .kernel("norm")
            .def("STAGE", "apply")
            .def("X", dtype(op.x.dtype()))
            .flag("WEIGHT", weight.is_some())
            .flag("BIAS", bias.is_some())
            .read(&x)
            .write(&out)
            .read(&stats)
            .unused(&["weight_at", "bias_at"])
            .count("columns", columns)
            .param("x_at", x.at);
        if let Some(weight) = &weight {
            kernel = kernel.read(weight).param("weight_at", weight.at);
        }
        if let Some(bias) = &bias {
            kernel = kernel.read(bias).param("bias_at", bias.at);
        }
        let size = op.out.dtype().size();
        elements::finish(run.ctx, kernel, out.at, dtype(op.out.dtype()), size, rows * columns)?;
        run.ctx.done_with(scratch);
    }
    Ok(())
}
