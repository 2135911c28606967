use gristmill_core::Result;
use gristmill_core::ops::{Activation, ActivationKind};

use super::columns::{beside, cut};
use super::{Run, dtype, elements};
use crate::window::Window;

pub(super) fn run(run: &mut Run, op: &Activation) -> Result<()> {
    let (rows, columns) = op.x.shape().rows_cols();
    let fits = run.ctx.window_len(4);
    for piece in cut(rows, columns, fits) {
        let x = Window::of(&op.x, run.buffers, piece.first, piece.len)?;
        let out = Window::of(&op.out, run.buffers, piece.first, piece.len)?;
        let mut kernel = run
            .ctx
            .kernel("activation")
            .def("KIND", kind(op.kind))
            .flag("BIAS", op.bias.is_some())
            .flag("TIMES", op.times.is_some())
            .unused(&["bias_at", "times_at", "column0"])
            .count("columns", columns);
        let bias = op.bias.as_ref().map(|bias| beside(run, bias, columns, fits, &piece)).transpose()?;
        let times =
            op.times.as_ref().map(|t| Window::of(t, run.buffers, piece.first, piece.len)).transpose()?;
        kernel = kernel.read(&x).param("x_at", x.at).write(&out);
        if let Some((bias, column)) = &bias {
            kernel = kernel.read(bias).param("bias_at", bias.at).count("column0", *column);
        }
        if let Some(times) = &times {
            kernel = kernel.read(times).param("times_at", times.at);
        }
        elements::finish(run.ctx, kernel, out.at, dtype(op.out.dtype()), op.out.dtype().size(), piece.len)?;
    }
    Ok(())
}

/// The name of a function in shaders.
pub(super) fn kind(kind: ActivationKind) -> &'static str {
    match kind {
        ActivationKind::Gelu => "gelu",
        ActivationKind::GeluTanh => "gelu_tanh",
        ActivationKind::Silu => "silu",
    }
}
