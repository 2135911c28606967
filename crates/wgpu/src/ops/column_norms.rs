use gristmill_core::Result;
use gristmill_core::ops::ColumnNorms;

use super::{Run, dtype};
use crate::window::{Window, pieces};

/// Workgroups that keep a large device busy.
const GROUPS: usize = 1024;
/// Rows of a block at least.
const SHORT: usize = 16;
/// Words of what is known of a column in a block.
const STATE: usize = 4;

pub(super) fn run(run: &mut Run, op: &ColumnNorms) -> Result<()> {
    let (rows, columns) = op.x.shape().rows_cols();
    let plan = Plan::new([rows, columns], run.ctx.window_len(4), STATE);
    for (column0, width) in pieces(columns, plan.columns) {
        some(run, op, &plan, column0, width)?;
    }
    Ok(())
}

/// The norms of some columns.
fn some(run: &mut Run, op: &ColumnNorms, plan: &Plan, column0: usize, width: usize) -> Result<()> {
    let (count, columns) = op.x.shape().rows_cols();
    let states = run.ctx.scratch((4 * STATE * plan.blocks * width) as u64)?;
    let across = width.div_ceil(256);
    for (row0, rows) in pieces(count, plan.rows) {
        let x = Window::of(&op.x, run.buffers, row0 * columns + column0, (rows - 1) * columns + width)?;
        run.ctx
            .kernel("column_norms")
            .def("STAGE", "squares")
            .def("X", dtype(op.x.dtype()))
            .read(&x)
            .write(&Window::whole(&states))
            .count("rows", rows)
            .count("rows_each", plan.rows_each)
            .count("columns", width)
            .count("stride", columns)
            .param("x_at", x.at)
            .count("state0", row0 / plan.rows_each * width)
            .run(
                run.ctx,
                across * rows.div_ceil(plan.rows_each),
                (rows * width * op.x.dtype().size()) as u64,
            )?;
    }
    let out = Window::of(&op.out, run.buffers, column0, width)?;
    // Without rows there are no blocks, and norms are 0.
    let blocks = count.div_ceil(plan.rows_each);
    run.ctx
        .kernel("column_norms")
        .def("STAGE", "roots")
        .read(&Window::whole(&states))
        .write(&out)
        .count("blocks", blocks)
        .count("columns", width)
        .param("out_at", out.at)
        .run(run.ctx, across, (4 * STATE * blocks * width) as u64)?;
    run.ctx.done_with(states);
    Ok(())
}

/// How a reduction of columns is cut.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Rows that one invocation adds up.
    pub(super) rows_each: usize,
    /// Blocks of so many rows.
    pub(super) blocks: usize,
    /// Columns of which the states of all blocks are held.
    pub(super) columns: usize,
    /// Rows that a window shows of so many columns.
    pub(super) rows: usize,
}

impl Plan {
    /// For bindings of so many words, and states of `words` words.
    pub(super) fn new([rows, columns]: [usize; 2], fits: usize, words: usize) -> Self {
        let busy = GROUPS.div_ceil(columns.div_ceil(256).max(1));
        let rows_each = rows.div_ceil(busy).max(SHORT).min((fits / columns.max(1)).max(1));
        let blocks = rows.div_ceil(rows_each).max(1);
        let wide = (fits / (blocks * words)).clamp(1, columns.max(1));
        let most = 1 + (fits - wide) / columns.max(1);
        Self { rows_each, blocks, columns: wide, rows: most / rows_each * rows_each }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reductions_are_cut_to_fit() {
        for (shape, fits) in [
            ([1000, 1000], 1 << 25),
            ([3, 100 << 20], 1 << 25),
            ([100_000, 3], 1 << 25),
            ([77, 300], 1000),
            ([0, 5], 1000),
        ] {
            let [rows, columns] = shape;
            for words in [1, 4] {
                let p = Plan::new(shape, fits, words);
                assert!(p.rows >= p.rows_each && p.rows_each >= 1, "{p:?}");
                assert!((p.rows - 1) * columns + p.columns <= fits, "{p:?}");
                assert!(p.blocks * p.columns * words <= fits && p.blocks * p.rows_each >= rows, "{p:?}");
            }
        }
        let wanted = Plan { rows_each: 64, blocks: 64, columns: 4096, rows: 8192 };
        assert_eq!(Plan::new([4096, 4096], 1 << 25, 1), wanted);
    }
}
