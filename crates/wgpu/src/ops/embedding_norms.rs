use gristmill_core::ops::EmbeddingNorms;
use gristmill_core::{Result, Tensor};

use super::{Run, dtype, fits_row};
use crate::window::Window;

pub(super) fn run(run: &mut Run, op: &EmbeddingNorms) -> Result<()> {
    let (rows, d) = op.dy.shape().rows_cols();
    fits_row(run, op.dy.len())?;
    let links = Links::find(run, &op.ids, &op.offsets, op.vocabulary, op.padding_idx, false)?;
    let terms = run.ctx.scratch(8 * rows as u64)?;
    let dy = Window::of(&op.dy, run.buffers, 0, op.dy.len())?;
    run.ctx
        .kernel("embedding_norms")
        .def("STAGE", "rows")
        .def("X", dtype(op.dy.dtype()))
        .read(&dy)
        .read(&Window::whole(&links.next))
        .read(&Window::whole(&links.of_rows))
        .write(&Window::whole(&terms))
        .count("rows", rows)
        .count("d", d)
        .param("dy_at", dy.at)
        .run(run.ctx, rows, op.dy.bytes() as u64)?;
    sum(run, &op.offsets, rows, &terms, &op.out)?;
    run.ctx.done_with(terms);
    links.done(run);
    Ok(())
}

/// For each row of some ids, as `shaders/embedding_norms.wgsl` has it, the next with the same id, and its sample.
pub(super) struct Links {
    pub(super) next: wgpu::Buffer,
    pub(super) of_rows: wgpu::Buffer,
}

impl Links {
    /// Links the rows within each sample, or (`whole`) over all of them.
    pub(super) fn find(
        run: &mut Run,
        ids: &Tensor,
        offsets: &Tensor,
        vocabulary: usize,
        padding: Option<u32>,
        whole: bool,
    ) -> Result<Self> {
        let (rows, samples) = (ids.len(), offsets.len() - 1);
        // Two numbers for each row elsewhere.
        fits_row(run, (2 * rows).max(samples + 1))?;
        let slot = run.ctx.fault_slot(run.serial)?;
        let next = run.ctx.scratch(4 * rows as u64)?;
        let of_rows = run.ctx.scratch(4 * rows as u64)?;
        let offsets = Window::of(offsets, run.buffers, 0, samples + 1)?;
        let ids = Window::of(ids, run.buffers, 0, rows)?;
        // As if each row were compared with a thousand others.
        let work = 1024 * rows as u64;
        run.ctx
            .kernel("embedding_norms")
            .def("STAGE", "links")
            .flag("WHOLE", whole)
            .read(&offsets)
            .read(&ids)
            .write(&Window::whole(&next))
            .write(&Window::whole(&of_rows))
            .write(&run.ctx.faults.window())
            .count("samples", samples)
            .count("rows", rows)
            .count("vocabulary", vocabulary)
            .param("padding", padding.unwrap_or(u32::MAX))
            .param("offsets_at", offsets.at)
            .param("ids_at", ids.at)
            .param("slot", slot)
            .run(run.ctx, rows.max(samples).div_ceil(256), work)?;
        Ok(Self { next, of_rows })
    }

    pub(super) fn done(self, run: &mut Run) {
        run.ctx.done_with(self.next);
        run.ctx.done_with(self.of_rows);
    }
}

/// Adds the terms of the rows of each sample up.
pub(super) fn sum(
    run: &mut Run,
    offsets: &Tensor,
    rows: usize,
    terms: &wgpu::Buffer,
    out: &Tensor,
) -> Result<()> {
    let samples = out.len();
    let offsets = Window::of(offsets, run.buffers, 0, samples + 1)?;
    let out = Window::of(out, run.buffers, 0, samples)?;
    run.ctx
        .kernel("embedding_norms")
        .def("STAGE", "sum")
        .read(&offsets)
        .read(&Window::whole(terms))
        .write(&out)
        .count("samples", samples)
        .count("rows", rows)
        .param("offsets_at", offsets.at)
        .param("out_at", out.at)
        .run(run.ctx, samples, 8 * rows as u64)
}
