//! What `row_reduce`, `softmax_stats` and `nll` share: how rows are cut into units and units into dispatches. See
//! `shaders/lib/rows.wgsl`.

use gristmill_core::{Result, Tensor};

use super::{Run, dtype};
use crate::kernel::Kernel;
use crate::window::{Window, pieces};

/// Units that keep a large device busy.
const UNITS: usize = 1024;
/// Elements below which a unit is not worth its own.
const SHORT: usize = 8192;
/// Elements of a unit at most.
const LONG: usize = 1 << 20;

/// Rows of `x`: the first `columns` of `stride` elements each.
pub(super) struct Rows<'a> {
    pub(super) x: &'a Tensor,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) stride: usize,
}

/// Rows and columns of a dispatch, for the operands that it needs beside `x`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tile {
    pub(super) row0: usize,
    pub(super) rows: usize,
    /// The first segment.
    pub(super) seg0: usize,
    /// The first column, and how many.
    pub(super) column0: usize,
    pub(super) columns: usize,
}

/// How many invocations share a unit of so many elements.
pub(super) fn threads(elements: usize) -> (usize, &'static str) {
    match elements {
        0..=64 => (8, "8"),
        65..=1024 => (32, "32"),
        _ => (256, "256"),
    }
}

/// Elements of a segment: all of a row, or so many that there are units enough.
fn segment(rows: usize, columns: usize, most: usize) -> usize {
    let busy = (rows * columns).div_ceil(UNITS).next_multiple_of(8);
    let seg = busy.clamp(SHORT, LONG).min(most / 8 * 8).max(8);
    if seg >= columns { columns } else { seg }
}

/// Adds an operation's own definitions, bindings and parameters to a kernel that has x or states as its first binding
/// and, in the partial stage, states as its second. The flag says whether the kernel writes results.
pub(super) trait Describe: Fn(&mut Run, Kernel, bool, &Tile) -> Result<Kernel> {}
impl<F: Fn(&mut Run, Kernel, bool, &Tile) -> Result<Kernel>> Describe for F {}

impl Rows<'_> {
    /// Runs all stages of an operation. `narrow` asks for tiles of one row and few columns even where x would fit, for
    /// the sake of another operand.
    pub(super) fn run(
        &self,
        run: &mut Run,
        name: &'static str,
        narrow: bool,
        describe: impl Describe,
    ) -> Result<()> {
        let size = self.x.dtype().size();
        let fits = run.ctx.window_len(size.max(4));
        let seg = segment(self.rows, self.columns, fits);
        let segs = self.columns.div_ceil(seg.max(1)).max(1);
        let plan = Plan { name, seg, segs, size, narrow: narrow || self.stride > fits };
        if segs == 1 && !plan.narrow {
            for (row0, rows) in pieces(self.rows, fits / self.stride.max(1)) {
                let tile = self.rows_tile(row0, rows);
                self.read(run, &plan, &tile, rows, None, &describe)?;
            }
            return Ok(());
        }
        // Rows whose states fit together.
        for (row0, rows) in pieces(self.rows, run.ctx.window_len(16 * segs)) {
            let scratch = run.ctx.scratch(16 * (rows * segs) as u64)?;
            let states = Window::whole(&scratch);
            self.partial(run, &plan, row0, rows, &states, &describe)?;
            let tile = Tile { columns: 0, ..self.rows_tile(row0, rows) };
            merge(run, name, &tile, segs, &states, &describe)?;
            run.ctx.done_with(scratch);
        }
        Ok(())
    }

    /// All columns of some rows.
    fn rows_tile(&self, row0: usize, rows: usize) -> Tile {
        Tile { row0, rows, seg0: 0, column0: 0, columns: self.columns }
    }

    /// The states of these rows.
    fn partial(
        &self,
        run: &mut Run,
        plan: &Plan,
        row0: usize,
        rows: usize,
        states: &Window,
        describe: &impl Describe,
    ) -> Result<()> {
        let fits = run.ctx.window_len(plan.size.max(4));
        if !plan.narrow {
            for (first, len) in pieces(rows, fits / self.stride.max(1)) {
                let tile = self.rows_tile(row0 + first, len);
                self.read(run, plan, &tile, len * plan.segs, Some((states, first * plan.segs)), describe)?;
            }
            return Ok(());
        }
        for row in 0..rows {
            for (seg0, len) in pieces(plan.segs, fits / plan.seg) {
                let column0 = seg0 * plan.seg;
                let columns = (len * plan.seg).min(self.columns - column0);
                let tile = Tile { row0: row0 + row, rows: 1, seg0, column0, columns };
                self.read(run, plan, &tile, len, Some((states, row * plan.segs + seg0)), describe)?;
            }
        }
        Ok(())
    }

    /// A dispatch that reads x; to results, or to states from a number on.
    fn read(
        &self,
        run: &mut Run,
        plan: &Plan,
        tile: &Tile,
        units: usize,
        states: Option<(&Window, usize)>,
        describe: &impl Describe,
    ) -> Result<()> {
        let first = tile.row0 * self.stride + tile.column0;
        let len = if tile.columns == 0 { 0 } else { (tile.rows - 1) * self.stride + tile.columns };
        let x = Window::of(self.x, run.buffers, first, len)?;
        let (threads, threads_name) = threads(plan.seg);
        let mut kernel = run.ctx.kernel(plan.name).read(&x);
        if let Some((states, _)) = states {
            kernel = kernel.write(states);
        }
        describe(run, kernel, states.is_none(), tile)?
            .def("STAGE", if states.is_some() { "partial" } else { "whole" })
            .def("THREADS", threads_name)
            .def("X", dtype(self.x.dtype()))
            .count("units", units)
            .count("unit0", states.map_or(0, |s| s.1))
            .count("seg0", tile.seg0)
            .count("seg", plan.seg)
            .count("segs", plan.segs)
            .count("columns", self.columns)
            .count("stride", self.stride)
            .param("x_at", x.at)
            .run(run.ctx, units.div_ceil(256 / threads), (len * plan.size) as u64)
    }
}

/// The dispatch from `segs` states for each row to results.
pub(super) fn merge(
    run: &mut Run,
    name: &'static str,
    tile: &Tile,
    segs: usize,
    states: &Window,
    describe: &impl Describe,
) -> Result<()> {
    let (threads, threads_name) = threads(segs);
    let kernel = run.ctx.kernel(name).read(states);
    describe(run, kernel, true, tile)?
        .def("STAGE", "merge")
        .def("THREADS", threads_name)
        .def("X", "f32")
        .count("units", tile.rows)
        .count("segs", segs)
        .unused(&["x_at", "stride", "columns", "seg", "seg0", "unit0"])
        .run(run.ctx, tile.rows.div_ceil(256 / threads), 16 * (tile.rows * segs) as u64)
}

struct Plan {
    name: &'static str,
    /// Elements of a segment.
    seg: usize,
    /// Segments of a row.
    segs: usize,
    /// Bytes of an element.
    size: usize,
    /// Whether tiles are of one row.
    narrow: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_keep_the_device_busy_and_fit() {
        assert_eq!(segment(4096, 50_257, 1 << 25), 50_257);
        assert_eq!(segment(1, 50_257, 1 << 25), SHORT);
        assert_eq!(segment(1, 100 << 20, 1 << 25), (100 << 20) / UNITS);
        assert_eq!(segment(1, 1 << 32, 1 << 25), LONG);
        assert_eq!(segment(10_000, 1 << 22, 1 << 25), LONG);
        assert_eq!(segment(10, 5, 1000), 5);
        assert_eq!(segment(10_000, 5000, 1003), 1000);
        assert_eq!(segment(7, 0, 1000), 0);
    }
}
