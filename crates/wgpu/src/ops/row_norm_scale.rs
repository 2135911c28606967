use gristmill_core::Result;
use gristmill_core::ops::RowNormScale;

use super::column_norms::Plan;
use super::rows::Rows;
use super::{Run, dtype};
use crate::window::{Window, pieces};

pub(super) fn run(run: &mut Run, op: &RowNormScale) -> Result<()> {
    let (count, columns) = op.x.shape().rows_cols();
    let rows = Rows { x: &op.x, rows: count, columns, stride: columns };
    rows.run(run, "row_norm_scale", false, |run, kernel, ends, tile| {
        let kernel = kernel.def("PASS", "norms").number("max_norm", op.max_norm);
        if !ends {
            return Ok(kernel.param("norms_at", 0).param("factors_at", 0));
        }
        let norms = Window::of(&op.norms, run.buffers, tile.row0, tile.rows)?;
        let factors = Window::of(&op.factors, run.buffers, tile.row0, tile.rows)?;
        let kernel = kernel.write(&norms).write(&factors);
        Ok(kernel.param("norms_at", norms.at).param("factors_at", factors.at))
    })?;
    let plan = Plan::new([count, columns], run.ctx.window_len(4), 1);
    for (column0, width) in pieces(columns, plan.columns) {
        sum(run, op, &plan, column0, width)?;
    }
    Ok(())
}

/// Some columns of the sum.
fn sum(run: &mut Run, op: &RowNormScale, plan: &Plan, column0: usize, width: usize) -> Result<()> {
    let (count, columns) = op.x.shape().rows_cols();
    let out = Window::of(&op.out, run.buffers, column0, width)?;
    let scratch = run.ctx.scratch(4 * (plan.blocks * width) as u64)?;
    let sums = Window::whole(&scratch);
    let across = width.div_ceil(256);
    for (row0, rows) in pieces(count, plan.rows) {
        let x = Window::of(&op.x, run.buffers, row0 * columns + column0, (rows - 1) * columns + width)?;
        let factors = Window::of(&op.factors, run.buffers, row0, rows)?;
        run.ctx
            .kernel("row_norm_scale")
            .def("PASS", "sum")
            .def("X", dtype(op.x.dtype()))
            .flag("FACTORS", true)
            .read(&x)
            .write(&sums)
            .read(&factors)
            .count("rows", rows)
            .count("rows_each", plan.rows_each)
            .count("columns", width)
            .count("stride", columns)
            .param("x_at", x.at)
            .count("out_at", row0 / plan.rows_each * width)
            .count("out_stride", width)
            .param("factors_at", factors.at)
            .run(
                run.ctx,
                across * rows.div_ceil(plan.rows_each),
                (rows * width * op.x.dtype().size()) as u64,
            )?;
    }
    // Without rows there are no blocks, and the sum is 0.
    let blocks = count.div_ceil(plan.rows_each);
    run.ctx
        .kernel("row_norm_scale")
        .def("PASS", "sum")
        .def("X", "f32")
        .flag("FACTORS", false)
        .read(&sums)
        .write(&out)
        .count("rows", blocks)
        .count("rows_each", blocks.max(1))
        .count("columns", width)
        .count("stride", width)
        .param("x_at", 0)
        .param("out_at", out.at)
        .param("out_stride", 0)
        .param("factors_at", 0)
        .run(run.ctx, across, 4 * (blocks * width) as u64)?;
    run.ctx.done_with(scratch);
    Ok(())
}
