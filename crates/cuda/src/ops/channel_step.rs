use gristmill_core::ops::ChannelStep;
use gristmill_core::{DType, Result};

use super::strided;
use crate::backend::Context;
use crate::driver::Args;

pub(super) fn run(op: &ChannelStep, cx: &mut Context<'_>) -> Result<()> {
    let n = op.param.len();
    if n == 0 {
        return Ok(());
    }
    // Without anything that is stored as bf16 there is nothing to round.
    let noise = op.noise.filter(|_| op.param.dtype() == DType::Bf16);
    let (seed, stream) = noise.map_or((0, 0), |noise| (noise.seed, noise.stream));
    let args = Args::new()
        .u64(cx.at(&op.grad)?)
        .u64(cx.at(&op.factors)?)
        .u64(cx.at(&op.param)?)
        .size(n)
        .size(op.param.shape().rows_cols().1)
        .u64(seed)
        .u64(stream)
        .f32(op.step)
        .f32(op.keep)
        .finish();
    let across = if op.columns { "columns" } else { "rows" };
    let suffix = if noise.is_some() { "_noise" } else { "" };
    let kernel = format!("channel_step_{across}_{}_{}{suffix}", op.grad.dtype(), op.param.dtype());
    cx.launch("channel_step", kernel, strided(n), 0, &args)
}
