use gristmill_core::Result;
use gristmill_core::ops::Gather;

use super::{Run, dtype, elements, fits_row};
use crate::window::{Window, pieces};

pub(super) fn run(run: &mut Run, op: &Gather) -> Result<()> {
    let (vocab, d) = op.table.shape().rows_cols();
    let slot = run.ctx.fault_slot(run.serial)?;
    let fits = fits_row(run, d)?;
    for (row0, rows) in pieces(op.ids.len(), fits) {
        let ids = Window::of(&op.ids, run.buffers, row0, rows)?;
        let out = Window::of(&op.out, run.buffers, row0 * d, rows * d)?;
        // Of an empty table one look is enough to find that no index is in it.
        let parts = if vocab == 0 { vec![(0, 0)] } else { pieces(vocab, fits).collect() };
        for (first, len) in parts {
            let table = Window::of(&op.table, run.buffers, first * d, len * d)?;
            let kernel = run
                .ctx
                .kernel("gather")
                .def("X", dtype(op.table.dtype()))
                .read(&table)
                .read(&ids)
                .write(&out)
                .write(&run.ctx.faults.window())
                .count("d", d)
                .param("ids_at", ids.at)
                .param("table_at", table.at)
                .count("row0", first)
                .count("rows", len)
                // What lies behind is out of reach of 32 bits.
                .count("vocab", vocab.min(u32::MAX as usize))
                .count("first", row0)
                .param("slot", slot);
            let size = op.out.dtype().size();
            elements::finish(run.ctx, kernel, out.at, dtype(op.out.dtype()), size, rows * d)?;
        }
    }
    Ok(())
}
