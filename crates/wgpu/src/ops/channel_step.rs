use gristmill_core::ops::ChannelStep;
use gristmill_core::{DType, Result};

use super::columns::{beside, cut};
use super::elements::finish;
use super::{Run, dtype};
use crate::window::Window;

pub(super) fn run(run: &mut Run, op: &ChannelStep) -> Result<()> {
    let (rows, columns) = op.param.shape().rows_cols();
    let fits = run.ctx.window_len(4);
    let bf16 = op.param.dtype() == DType::Bf16;
    let halves = |x: u64| (x as u32, (x >> 32) as u32);
    let [seed, stream] = op.noise.map_or([0; 2], |noise| [noise.seed, noise.stream]).map(halves);
    for piece in cut(rows, columns, fits) {
        let out = Window::of(&op.param, run.buffers, piece.first, piece.len)?;
        let grad = Window::of(&op.grad, run.buffers, piece.first, piece.len)?;
        let (factors, column) = match op.columns {
            true => beside(run, &op.factors, columns, fits, &piece)?,
            false => {
                let row = piece.first / columns;
                let count = (piece.column + piece.len).div_ceil(columns);
                (Window::of(&op.factors, run.buffers, row, count)?, piece.column)
            }
        };
        let kernel = run
            .ctx
            .kernel("channel_step")
            .def("G", dtype(op.grad.dtype()))
            .flag("ACROSS", op.columns)
            .flag("NOISE", bf16 && op.noise.is_some())
            .write(&out)
            .read(&grad)
            .read(&factors)
            .count("first", piece.first)
            .param("grad_at", grad.at)
            .param("factors_at", factors.at)
            .count("column0", column)
            .count("columns", columns)
            .number("step", op.step)
            .number("keep", op.keep)
            .param("seed_lo", seed.0)
            .param("seed_hi", seed.1)
            .param("stream_lo", stream.0)
            .param("stream_hi", stream.1);
        finish(run.ctx, kernel, out.at, dtype(op.param.dtype()), op.param.dtype().size(), piece.len)?;
    }
    Ok(())
}
