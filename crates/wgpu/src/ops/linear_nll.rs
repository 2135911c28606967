use gristmill_core::ops::LinearNll;
use gristmill_core::{Code, Error, Result};

use super::matmul::{FLOPS_PER_BYTE, TILE_COLUMNS, TILE_ROWS};
use super::nll::End;
use super::rows::{Tile, merge};
use super::{Run, dtype};
use crate::window::{Window, pieces};

/// Tiles that a workgroup makes one after the other: fewer states in memory, fewer workgroups.
const SPANS: [(usize, &str); 2] = [(8, "8"), (1, "1")];
/// Tiles of the vocabulary from which on a workgroup makes several.
const TILES: usize = 512;
/// Floating-point operations of one dispatch at most.
const FLOPS: usize = 1 << 36;

pub(super) fn run(run: &mut Run, op: &LinearNll) -> Result<()> {
    let (rows, d) = op.hidden.shape().rows_cols();
    let slot = run.ctx.fault_slot(run.serial)?;
    let fits = run.ctx.window_len(op.hidden.dtype().size());
    if d > fits {
        return Err(Error::new(
            Code::Unsupported,
            format!("rows of {d} elements, more than the {fits} that a binding of this device can show"),
        ));
    }
    // Columns whose rows of the head fit a binding.
    let most = (fits / d.max(1)).min(run.ctx.window_len(4)).min(65_535 * TILE_COLUMNS);
    // How columns are cut must not depend on the rows: a row has the same bits in whatever batch it comes.
    let long = op.vocab / TILE_COLUMNS >= TILES && most >= SPANS[0].0 * TILE_COLUMNS;
    let (span, span_name) = SPANS[usize::from(!long)];
    let part_columns = (span * TILE_COLUMNS).min(most);
    let parts = op.vocab.div_ceil(part_columns);
    let most_rows = (fits / d.max(1)).min(run.ctx.window_len(16 * parts)).clamp(1, 1 << 20);
    // No more than a dispatch may take, in whole parts.
    let quick = FLOPS / (2 * d.max(1) * rows.clamp(1, most_rows));
    let most_columns = (most.min(quick) / part_columns).max(1) * part_columns;
    for (row0, rows) in pieces(rows, most_rows) {
        let scratch = run.ctx.scratch(16 * (rows * parts) as u64)?;
        let states = Window::whole(&scratch);
        let hidden = Window::of(&op.hidden, run.buffers, row0 * d, rows * d)?;
        let targets = Window::of(&op.targets, run.buffers, row0, rows)?;
        for (column0, columns) in pieces(op.vocab, most_columns) {
            let head = Window::of(&op.head, run.buffers, column0 * d, columns * d)?;
            let mut kernel = run
                .ctx
                .kernel("linear_nll")
                .def("X", dtype(op.hidden.dtype()))
                .def("SPAN", span_name)
                .def("TRANS_A", "0")
                .def("TRANS_B", "1")
                .flag("BIAS", op.bias.is_some())
                .flag("CAP", op.softcap.is_some())
                .read(&hidden)
                .read(&head)
                .read(&targets)
                .write(&states);
            let mut bias_at = 0;
            if let Some(bias) = &op.bias {
                let bias = Window::of(bias, run.buffers, column0, columns)?;
                kernel = kernel.read(&bias);
                bias_at = bias.at;
            }
            let grid = [columns.div_ceil(part_columns) as u32, rows.div_ceil(TILE_ROWS) as u32, 1];
            kernel
                .count("rows", rows)
                .count("columns", columns)
                .count("column0", column0)
                .count("d", d)
                .param("hidden_at", hidden.at)
                .param("head_at", head.at)
                .param("bias_at", bias_at)
                .param("targets_at", targets.at)
                .number("cap", op.softcap.unwrap_or(0.0))
                .count("parts", parts)
                .count("part0", column0 / part_columns)
                .run_grid(run.ctx, grid, (rows * columns) as u64 * d as u64 / FLOPS_PER_BYTE)?;
        }
        let end = End { targets: &op.targets, out: &op.out, vocab: op.vocab, slot };
        let tile = Tile { row0, rows, seg0: 0, column0: 0, columns: 0 };
        merge(run, "nll", &tile, parts, &states, &|run: &mut Run, kernel, ends, tile: &Tile| {
            let kernel = end.describe(run, kernel, ends, tile)?.flag("CAP", false).flag("BIAS", false);
            Ok(kernel.param("cap", 0).param("bias_at", 0).param("bias_seg0", 0))
        })?;
        run.ctx.done_with(scratch);
    }
    Ok(())
}
