use gristmill_core::Result;
use gristmill_core::ops::PayloadNorm;

use super::Run;
use super::topk_encode::{geometry, layout};
use crate::window::Window;

/// Chunks, or sums, of a workgroup.
const BLOCK: usize = 256;

pub(super) fn run(run: &mut Run, op: &PayloadNorm) -> Result<()> {
    let (peers, stride) = op.payloads.shape().rows_cols();
    let chunks = op.chunking.chunks();
    let out = Window::of(&op.out, run.buffers, 0, peers)?;
    let slot = run.ctx.fault_slot(run.serial)?;
    // At the least one sum, so that that of nothing is 0.
    let mut blocks = chunks.div_ceil(BLOCK).max(1);
    let mut sums = run.ctx.scratch(4 * (peers * blocks).max(1) as u64)?;
    let payloads = Window::of(&op.payloads, run.buffers, 0, op.payloads.len())?;
    let kernel = run
        .ctx
        .kernel("payload_norm")
        .def("STEP", "chunks")
        .def("QUANTIZER", op.layout.quantizer().name())
        .read(&payloads)
        .write(&Window::whole(&sums))
        .write(&run.ctx.faults.window());
    layout(geometry(kernel, &op.chunking), &op.layout)
        .count("chunks", chunks)
        .count("blocks", blocks)
        .count("stride", stride)
        .count("tensor_words", op.layout.tensor_words())
        .param("payloads_at", payloads.at)
        .param("slot", slot)
        .run(run.ctx, peers * blocks, 4 * op.payloads.len() as u64)?;
    while blocks > 1 {
        let fewer = blocks.div_ceil(BLOCK);
        let next = run.ctx.scratch(4 * (peers * fewer).max(1) as u64)?;
        run.ctx
            .kernel("payload_norm")
            .def("STEP", "sums")
            .def("QUANTIZER", "none")
            .read(&Window::whole(&sums))
            .write(&Window::whole(&next))
            .count("n", blocks)
            .count("blocks", fewer)
            .param("sums_at", 0)
            .run(run.ctx, peers * fewer, 4 * (peers * blocks) as u64)?;
        run.ctx.done_with(std::mem::replace(&mut sums, next));
        blocks = fewer;
    }
    if peers > 0 {
        super::copy::elements(run.ctx, "f32", 4, &Window::whole(&sums), &out, peers)?;
    }
    run.ctx.done_with(sums);
    Ok(())
}
