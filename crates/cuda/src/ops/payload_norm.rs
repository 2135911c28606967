use gristmill_core::Result;
use gristmill_core::ops::PayloadNorm;

use super::topk_encode::{geometry, layout};
use super::{BLOCK, grid};
use crate::backend::Context;
use crate::driver::Args;

const NAME: &str = "payload_norm";

pub(super) fn run(op: &PayloadNorm, cx: &mut Context<'_>) -> Result<()> {
    let (peers, stride) = op.payloads.shape().rows_cols();
    if peers == 0 {
        return Ok(());
    }
    // At the least one sum, so that that of nothing is 0.
    let first = op.chunking.chunks().div_ceil(BLOCK).max(1);
    let second = first.div_ceil(BLOCK);
    // Sums go to and fro between two places, and the last to the output.
    let places = cx.scratch([4 * peers * first, 4 * peers * second])?;
    let (mut n, mut blocks, mut from) = (0, first, 1);
    loop {
        let to = if blocks == 1 { cx.at(&op.out)? } else { places[1 - from] };
        let args =
            Args::new().u64(cx.at(&op.payloads)?).u64(places[from]).u64(to).u64(cx.status).size(stride);
        let args = layout(geometry(args, &op.chunking), &op.layout).u32(blocks as u32).u32(n as u32).finish();
        let step = if n == 0 { op.layout.quantizer().name() } else { "sums" };
        cx.launch(NAME, format!("{NAME}_{step}"), grid([peers * blocks, 1, 1])?, 4 * BLOCK, &args)?;
        if blocks == 1 {
            return Ok(());
        }
        (n, blocks, from) = (blocks, blocks.div_ceil(BLOCK), 1 - from);
    }
}
