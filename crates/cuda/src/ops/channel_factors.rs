use gristmill_core::Result;
use gristmill_core::ops::ChannelFactors;

use super::BLOCK;
use crate::backend::Context;
use crate::driver::Args;

pub(super) fn run(op: &ChannelFactors, cx: &mut Context<'_>) -> Result<()> {
    const NAME: &str = "channel_factors";
    let args = Args::new()
        .u64(cx.at(&op.direction)?)
        .u64(cx.at(&op.projected)?)
        .u64(cx.at(&op.gradient)?)
        .u64(cx.at(&op.factors)?)
        .u64(cx.at_option(op.previous.as_ref())?)
        .size(op.factors.len())
        .u32(op.whole.into())
        .f32(op.scale)
        .f32(op.grad_scale)
        .aligned()
        .finish();
    cx.launch(NAME, NAME, [1, 1, 1], 8 * BLOCK, &args)
}
