use gristmill_core::Result;
use gristmill_core::ops::RowNormScale;

use super::rows::Rows;
use super::{Run, dtype};
use crate::window::{Window, pieces};

/// Workgroups that keep a large device busy.
const GROUPS: usize = 1024;
/// Rows of a block at least.
const SHORT: usize = 16;

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
    let plan = plan(count, columns, run.ctx.window_len(op.x.dtype().size().max(4)));
    for (column0, width) in pieces(columns, plan.columns) {
        sum(run, op, &plan, column0, width)?;
    }
    Ok(())
}

/// How the sum over rows is cut.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// Rows that one invocation adds up.
    rows_each: usize,
    /// Blocks of so many rows.
    blocks: usize,
    /// Columns of which the sums of all blocks are held.
    columns: usize,
    /// Rows that a window shows of so many columns.
    rows: usize,
}

fn plan(rows: usize, columns: usize, fits: usize) -> Plan {
    let busy = GROUPS.div_ceil(columns.div_ceil(256).max(1));
    let rows_each = rows.div_ceil(busy).max(SHORT).min((fits / columns.max(1)).max(1));
    let blocks = rows.div_ceil(rows_each).max(1);
    let wide = (fits / blocks).clamp(1, columns.max(1));
    let most = 1 + (fits - wide) / columns.max(1);
    Plan { rows_each, blocks, columns: wide, rows: most / rows_each * rows_each }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_cut_to_fit() {
        for (rows, columns, fits) in [
            (1000, 1000, 1 << 25),
            (3, 100 << 20, 1 << 25),
            (100_000, 3, 1 << 25),
            (77, 300, 1000),
            (0, 5, 1000),
        ] {
            let p = plan(rows, columns, fits);
            assert!(p.rows >= p.rows_each && p.rows_each >= 1, "{p:?}");
            assert!((p.rows - 1) * columns + p.columns <= fits, "{p:?}");
            assert!(p.blocks * p.columns <= fits && p.blocks * p.rows_each >= rows, "{p:?}");
        }
        assert_eq!(plan(4096, 4096, 1 << 25), Plan { rows_each: 64, blocks: 64, columns: 4096, rows: 8192 });
    }
}
