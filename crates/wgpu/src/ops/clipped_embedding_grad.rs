use gristmill_core::Result;
use gristmill_core::ops::ClippedEmbeddingGrad;

use super::embedding_norms::Links;
use super::{Run, dtype, fits_row};
use crate::window::{Window, pieces};

pub(super) fn run(run: &mut Run, op: &ClippedEmbeddingGrad) -> Result<()> {
    let (rows, d) = op.dy.shape().rows_cols();
    let (vocabulary, _) = op.grad.shape().rows_cols();
    fits_row(run, op.dy.len())?;
    let links = Links::find(run, &op.ids, &op.offsets, vocabulary, op.padding_idx, true)?;
    let ids = Window::of(&op.ids, run.buffers, 0, rows)?;
    let dy = Window::of(&op.dy, run.buffers, 0, op.dy.len())?;
    let factors = Window::of(&op.factors, run.buffers, 0, op.factors.len())?;
    // Without columns there is nothing to show, nor to do.
    let fits = if d == 0 { 0 } else { fits_row(run, d)? };
    for (first, shown) in pieces(if d == 0 { 0 } else { vocabulary }, fits) {
        let grad = Window::of(&op.grad, run.buffers, first * d, shown * d)?;
        run.ctx
            .kernel("clipped_embedding_grad")
            .def("X", dtype(op.dy.dtype()))
            .read(&ids)
            .read(&dy)
            .read(&Window::whole(&links.next))
            .read(&Window::whole(&links.of_rows))
            .read(&factors)
            .write(&grad)
            .count("rows", rows)
            .count("d", d)
            .param("ids_at", ids.at)
            .param("dy_at", dy.at)
            .param("factors_at", factors.at)
            .param("grad_at", grad.at)
            .count("first", first)
            .count("shown", shown)
            .run(run.ctx, rows, op.dy.bytes() as u64)?;
    }
    links.done(run);
    Ok(())
}
