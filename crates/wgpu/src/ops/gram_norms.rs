//! Norms by products of rows: see `shaders/gram.wgsl`.

use gristmill_core::ops::LinearSizes;
use gristmill_core::{Result, Tensor};

use super::linear_grad::{FLOPS, Layer};
use super::matmul::{FLOPS_PER_BYTE, TILE_ROWS};
use super::{Run, dtype, fits_row};
use crate::window::{Window, pieces};

/// Workgroups that share the tiles of some rows.
const SPLIT: usize = 4;

/// Squares of the norms of all samples of a layer that has inputs and outputs. Gives a flag of each sample: 1.0 for those
/// whose terms cancel, which must be made, or 0.0.
pub(super) fn norms(run: &mut Run, layer: &Layer, bias: bool, out: &Tensor) -> Result<wgpu::Buffer> {
    let LinearSizes { rows, d, p, samples } = layer.sizes;
    let windows: Vec<_> = layer.windows(run)?.into_iter().filter(|(_, rows)| *rows > 0).collect();
    // Four numbers for each row, and two for each workgroup that has terms of it.
    fits_row(run, 2 * SPLIT * rows)?;
    let flags = run.ctx.scratch(4 * samples as u64)?;
    let of_rows = [run.ctx.scratch(16 * rows as u64)?, run.ctx.scratch(16 * rows as u64)?];
    let partials = run.ctx.scratch((8 * SPLIT * rows) as u64)?;
    // As many samples as have their means in one binding, of two numbers for each column.
    for (first, len) in pieces(samples, fits_row(run, 2 * d.max(p))?) {
        let group = Group {
            layer,
            samples: (first, len),
            means: [run.ctx.scratch((8 * len * d) as u64)?, run.ctx.scratch((8 * len * p) as u64)?],
            of_rows: &of_rows,
            partials: &partials,
        };
        group.means(run, &windows)?;
        for (a, &rows_a) in windows.iter().enumerate() {
            let of_a = group.centre(run, rows_a)?;
            for (b, &rows_b) in windows[..=a].iter().enumerate() {
                let of_b = if a == b { None } else { Some(group.centre(run, rows_b)?) };
                group.tiles(run, (rows_a, &of_a), (rows_b, of_b.as_ref().unwrap_or(&of_a)), b == 0)?;
                of_b.into_iter().flatten().for_each(|buffer| run.ctx.done_with(buffer));
            }
            of_a.into_iter().for_each(|buffer| run.ctx.done_with(buffer));
        }
        group.total(run, bias, out, &flags)?;
        group.means.into_iter().for_each(|buffer| run.ctx.done_with(buffer));
    }
    of_rows.into_iter().chain([partials]).for_each(|buffer| run.ctx.done_with(buffer));
    Ok(flags)
}

/// Some samples. Of two buffers, the first is of inputs and the second of output gradients.
struct Group<'a> {
    layer: &'a Layer<'a>,
    /// The first, and how many.
    samples: (usize, usize),
    means: [wgpu::Buffer; 2],
    of_rows: &'a [wgpu::Buffer; 2],
    partials: &'a wgpu::Buffer,
}

/// The first of some rows, and how many.
type Rows = (usize, usize);

impl Group<'_> {
    fn sides(&self) -> [(&Tensor, usize); 2] {
        [(self.layer.x, self.layer.sizes.d), (self.layer.dy, self.layer.sizes.p)]
    }

    fn means(&self, run: &mut Run, windows: &[Rows]) -> Result<()> {
        let (offsets, (sample0, count)) = (self.layer.offsets(run)?, self.samples);
        for (side, (x, n)) in self.sides().into_iter().enumerate() {
            for (i, &(row0, shown)) in windows.iter().enumerate() {
                let window = Window::of(x, run.buffers, row0 * n, shown * n)?;
                run.ctx
                    .kernel("gram_norms")
                    .def("STAGE", "means")
                    .def("X", dtype(x.dtype()))
                    .def("SIDE", ["x", "dy"][side])
                    .read(&offsets)
                    .read(&window)
                    .write(&Window::whole(&self.means[side]))
                    .count("sample0", sample0)
                    .count("count", count)
                    .count("n", n)
                    .count("rows", self.layer.sizes.rows)
                    .count("row0", row0)
                    .count("shown", shown)
                    .param("offsets_at", offsets.at)
                    .param("x_at", window.at)
                    .param("first", (i == 0).into())
                    .param("last", (i + 1 == windows.len()).into())
                    .run(run.ctx, (count * n).div_ceil(256), 8 * (shown * n) as u64)?;
            }
        }
        Ok(())
    }

    /// Rows of both sides less their means.
    fn centre(&self, run: &mut Run, (row0, shown): Rows) -> Result<[wgpu::Buffer; 2]> {
        let (offsets, (sample0, count)) = (self.layer.offsets(run)?, self.samples);
        let [d, p] = self.sides().map(|(_, n)| (4 * shown * n) as u64);
        let centred = [run.ctx.scratch(d)?, run.ctx.scratch(p)?];
        for (side, (x, n)) in self.sides().into_iter().enumerate() {
            let window = Window::of(x, run.buffers, row0 * n, shown * n)?;
            run.ctx
                .kernel("gram_norms")
                .def("STAGE", "centre")
                .def("X", dtype(x.dtype()))
                .read(&offsets)
                .read(&window)
                .read(&Window::whole(&self.means[side]))
                .write(&Window::whole(&centred[side]))
                .write(&Window::whole(&self.of_rows[side]))
                .count("sample0", sample0)
                .count("count", count)
                .count("samples", self.layer.sizes.samples)
                .count("n", n)
                .count("rows", self.layer.sizes.rows)
                .count("row0", row0)
                .count("shown", shown)
                .param("offsets_at", offsets.at)
                .param("x_at", window.at)
                .run(run.ctx, shown, 12 * (shown * n) as u64)?;
        }
        Ok(centred)
    }

    /// The terms of some rows with others, which are those before them or the same.
    fn tiles(
        &self,
        run: &mut Run,
        (a, of_a): (Rows, &[wgpu::Buffer; 2]),
        (b, of_b): (Rows, &[wgpu::Buffer; 2]),
        fresh: bool,
    ) -> Result<()> {
        let LinearSizes { d, p, .. } = self.layer.sizes;
        let each = 2 * TILE_ROWS * b.1 * (d + p);
        let partials = Window::cut(self.partials, (8 * SPLIT * a.0) as u64, (8 * SPLIT * a.1) as u64, 8);
        for (tile0, tiles) in pieces(a.1.div_ceil(TILE_ROWS), (FLOPS / each).max(1)) {
            let work = (tiles * each) as u64 / FLOPS_PER_BYTE;
            run.ctx
                .kernel("gram_norms")
                .def("STAGE", "tiles")
                .def("TRANS_A", "0")
                .def("TRANS_B", "1")
                .read(&Window::whole(&of_a[0]))
                .read(&Window::whole(&of_b[0]))
                .read(&Window::whole(&of_a[1]))
                .read(&Window::whole(&of_b[1]))
                .read(&Window::whole(&self.of_rows[0]))
                .read(&Window::whole(&self.of_rows[1]))
                .write(&partials)
                .count("row_a", a.0)
                .count("rows_a", a.1)
                .count("row_b", b.0)
                .count("rows_b", b.1)
                .count("tile0", tile0)
                .count("d", d)
                .count("outputs", p)
                .count("split", SPLIT)
                .param("partials_at", partials.at)
                .param("fresh", fresh.into())
                .run_grid(run.ctx, [tiles as u32, SPLIT as u32, 1], work)?;
        }
        Ok(())
    }

    fn total(&self, run: &mut Run, bias: bool, out: &Tensor, flags: &wgpu::Buffer) -> Result<()> {
        let LinearSizes { rows, d, p, samples } = self.layer.sizes;
        let (offsets, (sample0, count)) = (self.layer.offsets(run)?, self.samples);
        let out = Window::of(out, run.buffers, 0, samples)?;
        run.ctx
            .kernel("gram_norms")
            .def("STAGE", "total")
            .read(&offsets)
            .read(&Window::whole(&self.means[0]))
            .read(&Window::whole(&self.means[1]))
            .read(&Window::whole(&self.of_rows[0]))
            .read(&Window::whole(&self.of_rows[1]))
            .read(&Window::whole(self.partials))
            .write(&out)
            .write(&Window::whole(flags))
            .count("sample0", sample0)
            .count("count", count)
            .count("rows", rows)
            .count("d", d)
            .count("outputs", p)
            .count("split", SPLIT)
            .param("offsets_at", offsets.at)
            .param("out_at", out.at)
            .param("bias", bias.into())
            .run(run.ctx, count, (8 * count * (d + p) + 40 * rows) as u64)
    }
}
