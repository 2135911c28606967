use gristmill_core::Result;
use gristmill_core::ops::QuantizeRtn;

use super::{Run, dtype, elements, fits_row};
use crate::window::{Window, pieces};

/// Groups whose levels a workgroup finds.
const GROUPS: usize = 8;

pub(super) fn run(run: &mut Run, op: &QuantizeRtn) -> Result<()> {
    if op.x.is_empty() {
        return Ok(());
    }
    let size = op.x.dtype().size();
    let fits = fits_row(run, op.group)?.min(run.ctx.window_len(16));
    for (group0, count) in pieces(op.x.len() / op.group, fits) {
        let (first, len) = (group0 * op.group, count * op.group);
        let x = Window::of(&op.x, run.buffers, first, len)?;
        let out = Window::of(&op.out, run.buffers, first, len)?;
        let scratch = run.ctx.scratch(16 * count as u64)?;
        let grids = Window::whole(&scratch);
        run.ctx
            .kernel("quantize_rtn")
            .def("STAGE", "grids")
            .def("X", dtype(op.x.dtype()))
            .flag("SYMMETRIC", op.rule.symmetric)
            .read(&x)
            .write(&grids)
            .count("count", count)
            .count("group", op.group)
            .param("x_at", x.at)
            .number("levels", op.rule.levels())
            .number("clip", op.rule.clip)
            .run(run.ctx, count.div_ceil(GROUPS), (len * size) as u64)?;
        let kernel = run
            .ctx
            .kernel("quantize_rtn")
            .def("STAGE", "apply")
            .read(&x)
            .write(&out)
            .read(&grids)
            .count("group", op.group)
            .param("x_at", x.at);
        elements::finish(run.ctx, kernel, out.at, dtype(op.out.dtype()), size, len)?;
        run.ctx.done_with(scratch);
    }
    Ok(())
}
