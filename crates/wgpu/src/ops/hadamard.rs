use gristmill_core::ops::Hadamard;
use gristmill_core::{DType, Result};

use super::{Run, dtype, elements};
use crate::window::{Window, pieces};

/// Elements of a workgroup: whole blocks, whatever their size.
const TILE: usize = Hadamard::BLOCK;

pub(super) fn run(run: &mut Run, op: &Hadamard) -> Result<()> {
    // A window has at least 64 KiB, and so one tile.
    let fits = (run.ctx.window_len(4) / TILE).max(1) * TILE;
    for (first, len) in pieces(op.x.len(), fits) {
        let x = Window::of(&op.x, run.buffers, first, len)?;
        let out = Window::of(&op.out, run.buffers, first, len)?;
        if op.out.dtype() == DType::F32 {
            transform(run, op, &x, &out, len)?;
            continue;
        }
        // Words of halves may belong to two workgroups.
        let scratch = run.ctx.scratch(4 * len as u64)?;
        let sums = Window::whole(&scratch);
        transform(run, op, &x, &sums, len)?;
        let kernel = run.ctx.kernel("cast").def("X", "f32");
        elements::dispatch(run.ctx, kernel, Some(&sums), &out, dtype(op.out.dtype()), 2, len)?;
        run.ctx.done_with(scratch);
    }
    Ok(())
}

fn transform(run: &mut Run, op: &Hadamard, x: &Window, out: &Window, len: usize) -> Result<()> {
    run.ctx
        .kernel("hadamard")
        .def("X", dtype(op.x.dtype()))
        .read(x)
        .write(out)
        .count("n", len)
        .count("block", op.block)
        .number("factor", op.factor())
        .param("x_at", x.at)
        .param("out_at", out.at)
        .run(run.ctx, len.div_ceil(TILE), (len * (4 + op.x.dtype().size())) as u64)
}
