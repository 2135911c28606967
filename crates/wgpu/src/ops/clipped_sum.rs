use gristmill_core::Result;
use gristmill_core::ops::ClippedSum;

use super::Run;
use crate::window::{Window, pieces};

pub(super) fn run(run: &mut Run, op: &ClippedSum) -> Result<()> {
    let (samples, n) = op.rows.shape().rows_cols();
    for Tile { column0, columns, windows } in tiles(samples, n, run.ctx.window_len(8)) {
        let out = Window::of(&op.out, run.buffers, column0, columns)?;
        let scratch = run.ctx.scratch(8 * columns as u64)?;
        for (i, &(row0, shown)) in windows.iter().enumerate() {
            let rows = Window::of(&op.rows, run.buffers, row0 * n + column0, (shown - 1) * n + columns)?;
            let factors = Window::of(&op.factors, run.buffers, row0, shown)?;
            run.ctx
                .kernel("clipped_sum")
                .read(&rows)
                .read(&factors)
                .write(&Window::whole(&scratch))
                .write(&out)
                .count("columns", columns)
                .count("stride", n)
                .count("rows", shown)
                .param("rows_at", rows.at)
                .param("factors_at", factors.at)
                .param("out_at", out.at)
                .param("first", (i == 0).into())
                .param("last", (i + 1 == windows.len()).into())
                .run(run.ctx, columns.div_ceil(256), 4 * (shown * columns) as u64)?;
        }
        run.ctx.done_with(scratch);
    }
    Ok(())
}

/// Some columns of rows, and the windows that show those of all rows.
pub(super) struct Tile {
    pub(super) column0: usize,
    pub(super) columns: usize,
    pub(super) windows: Vec<(usize, usize)>,
}

/// Tiles of rows of `n` columns, none of which shows more than `fits` elements, and none more columns.
pub(super) fn tiles(rows: usize, n: usize, fits: usize) -> Vec<Tile> {
    let tile = |(column0, columns): (usize, usize)| {
        let together = 1 + (fits - columns) / n;
        Tile { column0, columns, windows: pieces(rows, together).collect() }
    };
    pieces(n, fits).map(tile).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_everything_and_fit() {
        for (rows, n, fits) in
            [(5, 7, 100), (5, 70, 100), (5, 250, 100), (0, 5, 100), (4, 0, 100), (3, 100, 100)]
        {
            let tiles = tiles(rows, n, fits);
            assert_eq!(tiles.iter().map(|t| t.columns).sum::<usize>(), n);
            for t in tiles {
                assert_eq!(t.windows.iter().map(|w| w.1).sum::<usize>(), rows);
                assert!(t.windows.iter().all(|w| (w.1 - 1) * n + t.columns <= fits));
            }
        }
    }
}
