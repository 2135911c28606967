use gristmill_core::Result;
use gristmill_core::ops::SoftmaxStats;

use super::Run;
use super::rows::Rows;
use crate::window::Window;

pub(super) fn run(run: &mut Run, op: &SoftmaxStats) -> Result<()> {
    let (_, columns) = op.x.shape().rows_cols();
    let rows = Rows { x: &op.x, rows: op.max.len(), columns, stride: columns };
    rows.run(run, "softmax_stats", false, |run, kernel, ends, tile| {
        if !ends {
            return Ok(kernel.param("max_at", 0).param("lse_at", 0));
        }
        let max = Window::of(&op.max, run.buffers, tile.row0, tile.rows)?;
        let lse = Window::of(&op.lse, run.buffers, tile.row0, tile.rows)?;
        Ok(kernel.write(&max).write(&lse).param("max_at", max.at).param("lse_at", lse.at))
    })
}
