use gristmill_core::Result;
use gristmill_core::ops::{Draw, Philox};

use super::Run;
use crate::window::{Window, pieces};

pub(super) fn run(run: &mut Run, op: &Philox) -> Result<()> {
    let halves = |x: u64| (x as u32, (x >> 32) as u32);
    let (seed, stream) = (halves(op.seed), halves(op.stream));
    let draw = match op.draw {
        Draw::Bits => "bits",
        Draw::Uniform => "uniform",
        Draw::Normal => "normal",
    };
    for (first, len) in pieces(op.out.len(), run.ctx.window_len(4)) {
        let out = Window::of(&op.out, run.buffers, first, len)?;
        let offset = op.offset + first as u64;
        let (block, skip) = (halves(offset / 4), (offset % 4) as usize);
        run.ctx
            .kernel("philox")
            .def("DRAW", draw)
            .write(&out)
            .count("n", len)
            .param("out_at", out.at)
            .count("skip", skip)
            .param("block_lo", block.0)
            .param("block_hi", block.1)
            .param("stream_lo", stream.0)
            .param("stream_hi", stream.1)
            .param("seed_lo", seed.0)
            .param("seed_hi", seed.1)
            .run(run.ctx, (len + skip).div_ceil(4 * 256), 4 * len as u64)?;
    }
    Ok(())
}
