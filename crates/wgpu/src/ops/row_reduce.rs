use gristmill_core::Result;
use gristmill_core::ops::{Reduction, RowReduce};

use super::Run;
use super::rows::Rows;
use crate::window::Window;

pub(super) fn run(run: &mut Run, op: &RowReduce) -> Result<()> {
    let (_, columns) = op.x.shape().rows_cols();
    let rows = Rows { x: &op.x, rows: op.out.len(), columns, stride: columns };
    rows.run(run, "row_reduce", false, |run, kernel, ends, tile| {
        let kernel = kernel.def("RULE", rule(op.reduction));
        if !ends {
            return Ok(kernel.param("out_at", 0));
        }
        let out = Window::of(&op.out, run.buffers, tile.row0, tile.rows)?;
        Ok(kernel.write(&out).param("out_at", out.at))
    })
}

/// The name of a rule in shaders.
pub(super) fn rule(reduction: Reduction) -> &'static str {
    match reduction {
        Reduction::Sum => "sum",
        Reduction::Max => "max",
        Reduction::SumSquares => "sum_squares",
    }
}
