use gristmill_core::Result;
use gristmill_core::ops::SegmentProduct;

use super::{Run, dtype, fits_row};
use crate::window::{Window, pieces};

pub(super) fn run(run: &mut Run, op: &SegmentProduct) -> Result<()> {
    let (rows, n) = op.a.shape().rows_cols();
    let samples = op.offsets.len() - 1;
    let slot = run.ctx.fault_slot(run.serial)?;
    fits_row(run, samples + 1)?;
    let offsets = Window::of(&op.offsets, run.buffers, 0, samples + 1)?;
    let all = |kernel: crate::kernel::Kernel| {
        kernel
            .unused(&["sample0", "count", "row0", "shown", "a_at", "b_at", "out_at", "first", "last"])
            .count("samples", samples)
            .count("n", n)
            .count("rows", rows)
            .param("offsets_at", offsets.at)
            .param("slot", slot)
    };
    all(run.ctx.kernel("segment_product").def("STAGE", "check"))
        .read(&offsets)
        .write(&run.ctx.faults.window())
        .run(run.ctx, samples.div_ceil(256), 4 * samples as u64)?;
    // Two numbers for each sum.
    let together = fits_row(run, 2 * n)?;
    if n == 0 {
        return Ok(());
    }
    // Also where there are no rows sums are written.
    let windows: Vec<_> = pieces(rows, fits_row(run, n)?).collect();
    let windows = if windows.is_empty() { vec![(0, 0)] } else { windows };
    for (sample0, count) in pieces(samples, together) {
        let scratch = run.ctx.scratch(8 * (count * n) as u64)?;
        let out = Window::of(&op.out, run.buffers, sample0 * n, count * n)?;
        for (i, &(row0, shown)) in windows.iter().enumerate() {
            let window = |x, run: &Run| Window::of(x, run.buffers, row0 * n, shown * n);
            let a = window(&op.a, run)?;
            let b = op.b.as_ref().map(|b| window(b, run)).transpose()?;
            let kernel = run
                .ctx
                .kernel("segment_product")
                .def("STAGE", "sums")
                .def("X", dtype(op.a.dtype()))
                .flag("BOTH", b.is_some())
                .read(&offsets)
                .read(&a)
                .write(&Window::whole(&scratch))
                .write(&out);
            let kernel = match &b {
                Some(b) => kernel.read(b),
                None => kernel,
            };
            all(kernel)
                .count("sample0", sample0)
                .count("count", count)
                .count("row0", row0)
                .count("shown", shown)
                .param("a_at", a.at)
                .param("b_at", b.as_ref().map_or(0, |b| b.at))
                .param("out_at", out.at)
                .param("first", (i == 0).into())
                .param("last", (i + 1 == windows.len()).into())
                .run(run.ctx, (count * n).div_ceil(256), 8 * (shown * n) as u64)?;
        }
        run.ctx.done_with(scratch);
    }
    Ok(())
}
