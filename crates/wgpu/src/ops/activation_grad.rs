use gristmill_core::Result;
use gristmill_core::ops::ActivationGrad;

use super::activation::kind;
use super::{Run, dtype, elements};
use crate::window::{Window, pieces};

pub(super) fn run(run: &mut Run, op: &ActivationGrad) -> Result<()> {
    for (first, len) in pieces(op.x.len(), run.ctx.window_len(4)) {
        let x = Window::of(&op.x, run.buffers, first, len)?;
        let dy = Window::of(&op.dy, run.buffers, first, len)?;
        let out = Window::of(&op.out, run.buffers, first, len)?;
        let kernel = run
            .ctx
            .kernel("activation_grad")
            .def("KIND", kind(op.kind))
            .read(&x)
            .read(&dy)
            .write(&out)
            .param("x_at", x.at)
            .param("dy_at", dy.at);
        elements::finish(run.ctx, kernel, out.at, dtype(op.out.dtype()), op.out.dtype().size(), len)?;
    }
    Ok(())
}
