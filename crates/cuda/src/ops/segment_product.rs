use gristmill_core::Result;
use gristmill_core::ops::SegmentProduct;

use super::{BLOCK, blocks, segments, strided};
use crate::backend::Context;
use crate::driver::Args;

pub(super) fn run(op: &SegmentProduct, cx: &mut Context<'_>) -> Result<()> {
    const NAME: &str = "segment_product";
    let (rows, n) = op.a.shape().rows_cols();
    let samples = op.offsets.len() - 1;
    let args = segments(Args::new(), cx, &op.offsets, rows)?
        .u64(cx.at(&op.a)?)
        .u64(cx.at_option(op.b.as_ref())?)
        .u64(cx.at(&op.out)?)
        .size(samples)
        .size(n)
        .finish();
    cx.launch(NAME, "segment_product_check", strided(samples), 0, &args)?;
    let kernel = format!("segment_product_{}", op.a.dtype());
    cx.launch(NAME, kernel, blocks(n.div_ceil(BLOCK) * samples), 0, &args)
}
