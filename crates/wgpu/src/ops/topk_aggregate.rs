use gristmill_core::Result;
use gristmill_core::ops::TopkAggregate;

use super::Run;
use super::topk_encode::{Tile, geometry, layout, tiles};
use crate::window::Window;

pub(super) fn run(run: &mut Run, op: &TopkAggregate) -> Result<()> {
    let slot = run.ctx.fault_slot(run.serial)?;
    let (peers, stride) = op.payloads.shape().rows_cols();
    let payloads = Window::of(&op.payloads, run.buffers, 0, op.payloads.len())?;
    let weights = Window::of(&op.weights, run.buffers, 0, peers)?;
    let steps = Window::of(&op.steps, run.buffers, 0, peers + 1)?;
    let words = op.layout.words_per_chunk();
    for Tile { chunk0, chunks, element0, elements } in tiles(&op.chunking, words, run.ctx.window_len(4)) {
        let theta = Window::of(&op.theta, run.buffers, element0, elements)?;
        let kernel = run
            .ctx
            .kernel("topk_aggregate")
            .def("QUANTIZER", op.layout.quantizer().name())
            .read(&payloads)
            .read(&weights)
            .read(&steps)
            .write(&theta)
            .write(&run.ctx.faults.window());
        layout(geometry(kernel, &op.chunking), &op.layout)
            .count("chunk0", chunk0)
            .count("chunks", chunks)
            .count("chunks_all", op.chunking.chunks())
            .count("element0", element0)
            .count("peers", peers)
            .count("stride", stride)
            .count("tensor_words", op.layout.tensor_words())
            .param("payloads_at", payloads.at)
            .param("weights_at", weights.at)
            .param("steps_at", steps.at)
            .param("theta_at", theta.at)
            .param("slot", slot)
            .run(run.ctx, chunks, 8 * elements as u64 + 4 * (peers * chunks * words) as u64)?;
    }
    Ok(())
}
