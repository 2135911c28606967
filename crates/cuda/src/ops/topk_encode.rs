use gristmill_core::Result;
use gristmill_core::ops::TopkEncode;
use gristmill_core::payload::{Chunking, IndexCodec, PayloadLayout};

use super::grid;
use crate::backend::Context;
use crate::driver::Args;

const NAME: &str = "topk_encode";
/// Bytes of `Shared` in kernels/topk_encode.cu.
const SHARED: usize = 4 * (4 * 8 + 128 + 8 + 128 + 2688);

pub(super) fn run(op: &TopkEncode, cx: &mut Context<'_>) -> Result<()> {
    if op.chunking.chunks() == 0 {
        return Ok(());
    }
    let args = Args::new()
        .u64(cx.at(&op.base)?)
        .u64(cx.at(&op.local)?)
        .u64(cx.at(&op.residual)?)
        .u64(cx.at(&op.residual_out)?)
        .u64(cx.at(&op.payload)?)
        .u64(cx.status);
    let args = layout(geometry(args, &op.chunking), &op.layout).f32(op.decay).u32(0).finish();
    let kernel = format!("{NAME}_{}", op.layout.quantizer().name());
    cx.launch(NAME, kernel, grid([op.chunking.chunks(), 1, 1])?, SHARED, &args)
}

/// `Geometry` of kernels/payload.cuh.
pub(super) fn geometry(args: Args, c: &Chunking) -> Args {
    [c.rows(), c.columns(), c.block_rows(), c.block_columns(), c.across(), c.chunks()]
        .into_iter()
        .fold(args, |args, n| args.u32(n as u32))
}

/// `Layout` of kernels/payload.cuh.
pub(super) fn layout(args: Args, layout: &PayloadLayout) -> Args {
    let places = [layout.codes().start, layout.lows().start, layout.highs().start];
    let args = args.u32(layout.k() as u32).u32(layout.low_bits());
    let args = places.into_iter().fold(args, |args, n| args.u32(n as u32));
    args.u32(layout.words_per_chunk() as u32)
        .u32(u32::from(layout.indices() == IndexCodec::EliasFano))
        .u32(layout.tensor_words() as u32)
}
