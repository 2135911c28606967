use gristmill_core::Result;
use gristmill_core::ops::TopkEncode;
use gristmill_core::payload::{Chunking, IndexCodec, PayloadLayout};

use super::Run;
use crate::kernel::Kernel;
use crate::window::{Window, pieces};

pub(super) fn run(run: &mut Run, op: &TopkEncode) -> Result<()> {
    let slot = run.ctx.fault_slot(run.serial)?;
    let words = op.layout.words_per_chunk();
    for Tile { chunk0, chunks, element0, elements } in tiles(&op.chunking, words, run.ctx.window_len(4)) {
        let window = |t, run: &Run| Window::of(t, run.buffers, element0, elements);
        let base = window(&op.base, run)?;
        let local = window(&op.local, run)?;
        let residual = window(&op.residual, run)?;
        let out = window(&op.residual_out, run)?;
        let payload = Window::of(&op.payload, run.buffers, chunk0 * words, chunks * words)?;
        let kernel = run
            .ctx
            .kernel("topk_encode")
            .def("QUANTIZER", op.layout.quantizer().name())
            .read(&base)
            .read(&local)
            .read(&residual)
            .write(&out)
            .write(&payload)
            .write(&run.ctx.faults.window());
        layout(geometry(kernel, &op.chunking), &op.layout)
            .count("chunk0", chunk0)
            .count("chunks", chunks)
            .count("element0", element0)
            .number("decay", op.decay)
            .param("base_at", base.at)
            .param("local_at", local.at)
            .param("residual_at", residual.at)
            .param("out_at", out.at)
            .param("payload_at", payload.at)
            .param("slot", slot)
            .run(run.ctx, chunks, 16 * elements as u64)?;
    }
    Ok(())
}

/// Consecutive chunks whose elements are consecutive too.
pub(super) struct Tile {
    pub(super) chunk0: usize,
    pub(super) chunks: usize,
    pub(super) element0: usize,
    pub(super) elements: usize,
}

/// Elements of a row of blocks at the most: so many words fit the least binding that WebGPU guarantees.
pub(super) const MOST: usize = 1 << 25;

/// Whether chunks can be shown to the kernels in tiles.
pub(super) fn fits(chunking: &Chunking) -> bool {
    chunking.rows() == 1 || chunking.block_rows() * chunking.columns() <= MOST
}

/// Tiles whose elements, and whose words at so many a chunk, fit a window.
pub(super) fn tiles(c: &Chunking, words: usize, window: usize) -> Vec<Tile> {
    let chunks = c.chunks();
    // A piece is a run, or a row of blocks.
    let (each, elements) = match c.rows() {
        1 => (1, c.block_columns()),
        _ => (c.across().max(1), c.block_rows() * c.columns()),
    };
    let together = (window / elements.max(1)).min(window / (words * each)).max(1);
    let tile = |(first, count): (usize, usize)| {
        let element0 = first * elements;
        Tile {
            chunk0: first * each,
            chunks: count * each,
            element0,
            elements: (count * elements).min(c.elements() - element0),
        }
    };
    pieces(chunks / each, together).map(tile).collect()
}

/// The parameters that say where chunks are.
pub(super) fn geometry(kernel: Kernel, c: &Chunking) -> Kernel {
    kernel
        .count("rows", c.rows())
        .count("columns", c.columns())
        .count("block_rows", c.block_rows())
        .count("block_columns", c.block_columns())
        .count("across", c.across())
}

/// The parameters that say where bits are.
pub(super) fn layout(kernel: Kernel, layout: &PayloadLayout) -> Kernel {
    kernel
        .count("k", layout.k())
        .param("low_bits", layout.low_bits())
        .count("codes_at", layout.codes().start)
        .count("lows_at", layout.lows().start)
        .count("highs_at", layout.highs().start)
        .count("words", layout.words_per_chunk())
        .param("fano", u32::from(layout.indices() == IndexCodec::EliasFano))
}
