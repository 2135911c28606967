use gristmill_core::Result;
use gristmill_core::ops::TopkAggregate;

use super::grid;
use super::topk_encode::{geometry, layout};
use crate::backend::Context;
use crate::driver::Args;

const NAME: &str = "topk_aggregate";
/// Bytes of `Shared` in kernels/topk_aggregate.cu.
const SHARED: usize = 4 * (4096 + 2048 + 256);

pub(super) fn run(op: &TopkAggregate, cx: &mut Context<'_>) -> Result<()> {
    if op.chunking.chunks() == 0 {
        return Ok(());
    }
    let (peers, stride) = op.payloads.shape().rows_cols();
    let args = Args::new()
        .u64(cx.at(&op.payloads)?)
        .u64(cx.at(&op.weights)?)
        .u64(cx.at(&op.steps)?)
        .u64(cx.at(&op.theta)?)
        .u64(cx.status)
        .size(stride);
    let args = layout(geometry(args, &op.chunking), &op.layout).u32(peers as u32).u32(0).finish();
    let kernel = format!("{NAME}_{}", op.layout.quantizer().name());
    cx.launch(NAME, kernel, grid([op.chunking.chunks(), 1, 1])?, SHARED, &args)
}
