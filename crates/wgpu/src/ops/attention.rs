use gristmill_core::ops::{Attention, Fill};
use gristmill_core::{DType, Result};

use super::matmul::FLOPS_PER_BYTE;
use super::{Run, dtype, elements, fill, fits_row};
use crate::window::{Window, pieces};

/// What the components of a head fill up to, as shaders have it.
const SIZES: [(usize, &str); 3] = [(64, "64"), (128, "128"), (256, "256")];
/// Keys that are taken at a time at most, behind the last that a window must begin with.
const OVERLAP: usize = 16;
/// Workgroups in one dimension of a dispatch at most.
const GROUPS: usize = 65_535;
/// Floating-point operations of one dispatch at most: a fraction of a second on a slow adapter.
const FLOPS: u64 = 1 << 36;

pub(super) fn run(run: &mut Run, op: &Attention) -> Result<()> {
    if op.out.dtype() == DType::F32 {
        // Rows of no document.
        fill::run(run, &Fill { out: op.out.clone(), value: 0.0 })?;
    }
    let slot = run.ctx.fault_slot(run.serial)?;
    let (rows, columns) = op.q.shape().rows_cols();
    let documents = op.offsets.len() - 1;
    fits_row(run, documents + 1)?;
    let offsets = Window::of(&op.offsets, run.buffers, 0, documents + 1)?;
    run.ctx
        .kernel("attention")
        .def("STAGE", "check")
        .read(&offsets)
        .write(&run.ctx.faults.window())
        .count("documents", documents)
        .param("offsets_at", offsets.at)
        .count("rows", rows)
        .param("slot", slot)
        .run(run.ctx, documents.div_ceil(256), 4 * documents as u64)?;
    // Also for what is carried, two numbers for each row and head.
    let fits = fits_row(run, columns.max(2 * op.heads))?;
    for (row0, len) in pieces(rows, fits) {
        Piece { op, offsets: &offsets, row0, rows: len }.run(run)?;
    }
    Ok(())
}

/// Some rows of the queries, and of the output.
struct Piece<'a> {
    op: &'a Attention,
    offsets: &'a Window,
    row0: usize,
    rows: usize,
}

impl Piece<'_> {
    fn run(&self, run: &mut Run) -> Result<()> {
        let (op, columns) = (self.op, self.op.q.shape().rows_cols().1);
        let (first, len) = (self.row0 * columns, self.rows * columns);
        if op.out.dtype() == DType::F32 {
            let out = Window::of(&op.out, run.buffers, first, len)?;
            return self.tiles(run, &out);
        }
        // Halves are rounded once, by a kernel that owns whole words of the output; what belongs to no document is 0.
        let scratch = run.ctx.scratch(4 * len as u64)?;
        let sums = Window::whole(&scratch);
        let fill = run.ctx.kernel("fill").param("value", 0);
        elements::dispatch(run.ctx, fill, None, &sums, "f32", 4, len)?;
        self.tiles(run, &sums)?;
        let out = Window::of(&op.out, run.buffers, first, len)?;
        let cast = run.ctx.kernel("cast").def("X", "f32");
        elements::dispatch(
            run.ctx,
            cast,
            Some(&sums),
            &out,
            dtype(op.out.dtype()),
            op.out.dtype().size(),
            len,
        )?;
        run.ctx.done_with(scratch);
        Ok(())
    }

    /// Goes over the keys, which lie before the last of the rows, a window at a time.
    fn tiles(&self, run: &mut Run, out: &Window) -> Result<()> {
        let (op, d) = (self.op, self.op.head_dim());
        let end = self.row0 + self.rows;
        let all = op.q.shape().rows_cols().0;
        let most = fits_row(run, (OVERLAP + 1) * op.kv_heads * d)? * (OVERLAP + 1) - OVERLAP;
        let windows: Vec<_> = pieces(end, most).collect();
        let carry = windows.len() > 1;
        let scratch = carry.then(|| run.ctx.scratch(8 * (self.rows * op.heads) as u64)).transpose()?;
        let (size, size_name) = SIZES.into_iter().find(|(size, _)| d <= *size).unwrap_or(SIZES[2]);
        let tile = 2048 / size;
        let documents = op.offsets.len() - 1;
        let flops_of_tile = 4 * (tile * most.min(end)) as u64 * (op.heads * d) as u64;
        let together = ((FLOPS / flops_of_tile.max(1)) as usize).clamp(1, GROUPS);
        let q = self.window(run, &op.q, self.row0, self.rows)?;
        for (i, &(key0, keys)) in windows.iter().enumerate() {
            let shown = (keys + OVERLAP).min(all - key0);
            let k = self.window(run, &op.k, key0, shown)?;
            let v = self.window(run, &op.v, key0, shown)?;
            for (tile0, tiles) in pieces(all / tile + documents, together) {
                let mut kernel = run
                    .ctx
                    .kernel("attention")
                    .def("STAGE", "tiles")
                    .def("SIZE", size_name)
                    .def("X", dtype(op.q.dtype()))
                    .flag("CARRY", carry)
                    .read(&q)
                    .read(&k)
                    .read(&v)
                    .read(self.offsets)
                    .write(out);
                if let Some(scratch) = &scratch {
                    kernel = kernel.write(&Window::whole(scratch));
                }
                kernel
                    .count("tile0", tile0)
                    .count("documents", documents)
                    .param("offsets_at", self.offsets.at)
                    .count("rows", all)
                    .count("heads", op.heads)
                    .count("group", op.heads / op.kv_heads)
                    .count("d", d)
                    .count("q0", self.row0)
                    .count("q_rows", self.rows)
                    .param("q_at", q.at)
                    .count("key0", key0)
                    .count("keys", keys)
                    .param("k_at", k.at)
                    .param("v_at", v.at)
                    .param("out_at", out.at)
                    .number("scale", op.scale)
                    .param("first", (i == 0).into())
                    .param("last", (i + 1 == windows.len()).into())
                    .run_grid(
                        run.ctx,
                        [tiles as u32, op.heads as u32, 1],
                        tiles as u64 * flops_of_tile / FLOPS_PER_BYTE,
                    )?;
            }
        }
        if let Some(scratch) = scratch {
            run.ctx.done_with(scratch);
        }
        Ok(())
    }

    /// Some rows of a tensor.
    fn window(&self, run: &Run, x: &gristmill_core::Tensor, first: usize, rows: usize) -> Result<Window> {
        let (_, columns) = x.shape().rows_cols();
        Window::of(x, run.buffers, first * columns, rows * columns)
    }
}
