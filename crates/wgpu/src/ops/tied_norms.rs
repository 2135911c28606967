use gristmill_core::Result;
use gristmill_core::ops::TiedNorms;

use super::embedding_norms::{Links, sum};
use super::matmul::FLOPS_PER_BYTE;
use super::{Run, dtype, fits_row};
use crate::window::{Window, pieces};

pub(super) fn run(run: &mut Run, op: &TiedNorms) -> Result<()> {
    let (rows, d) = op.e.shape().rows_cols();
    let (_, vocabulary) = op.dlogits.shape().rows_cols();
    fits_row(run, op.e.len())?;
    let links = Links::find(run, &op.ids, &op.offsets, vocabulary, None, false)?;
    let terms = run.ctx.scratch(8 * rows as u64)?;
    let samples = op.out.len();
    let offsets = Window::of(&op.offsets, run.buffers, 0, samples + 1)?;
    let ids = Window::of(&op.ids, run.buffers, 0, rows)?;
    let e = Window::of(&op.e, run.buffers, 0, op.e.len())?;
    let fits = fits_row(run, vocabulary.max(d))?;
    for (row0, shown) in pieces(rows, fits) {
        let h = Window::of(&op.h, run.buffers, row0 * d, shown * d)?;
        let dlogits = Window::of(&op.dlogits, run.buffers, row0 * vocabulary, shown * vocabulary)?;
        let flops = 2 * (rows * d) as u64 * (shown / samples.max(1) + 1) as u64;
        run.ctx
            .kernel("tied_norms")
            .def("X", dtype(op.e.dtype()))
            .read(&offsets)
            .read(&ids)
            .read(&Window::whole(&links.of_rows))
            .read(&e)
            .read(&h)
            .read(&dlogits)
            .write(&Window::whole(&terms))
            .count("rows", rows)
            .count("d", d)
            .count("vocabulary", vocabulary)
            .count("row0", row0)
            .count("shown", shown)
            .param("offsets_at", offsets.at)
            .param("ids_at", ids.at)
            .param("e_at", e.at)
            .param("h_at", h.at)
            .param("dlogits_at", dlogits.at)
            .param("first", (row0 == 0).into())
            .run(run.ctx, rows, flops / FLOPS_PER_BYTE)?;
    }
    sum(run, &op.offsets, rows, &terms, &op.out)?;
    run.ctx.done_with(terms);
    links.done(run);
    Ok(())
}
