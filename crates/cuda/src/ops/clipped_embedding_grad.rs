use gristmill_core::Result;
use gristmill_core::ops::ClippedEmbeddingGrad;

use super::embedding_norms::Tables;
use super::{blocks, strided};
use crate::backend::Context;

pub(super) fn run(op: &ClippedEmbeddingGrad, cx: &mut Context<'_>) -> Result<()> {
    const NAME: &str = "clipped_embedding_grad";
    let (rows, d) = op.dy.shape().rows_cols();
    let [next, of_rows] = cx.scratch([4 * rows, 4 * rows])?;
    let args = Tables {
        ids: &op.ids,
        offsets: &op.offsets,
        next,
        samples: of_rows,
        vocabulary: op.grad.shape().rows_cols().0,
        padding: op.padding_idx,
    }
    .args(cx)?
    .u64(cx.at(&op.dy)?)
    .u64(cx.at(&op.factors)?)
    .u64(cx.at(&op.grad)?)
    .size(d)
    .finish();
    cx.launch(NAME, "clipped_embedding_grad_links", strided(rows.max(op.factors.len())), 0, &args)?;
    cx.launch(NAME, format!("clipped_embedding_grad_{}", op.dy.dtype()), blocks(rows), 0, &args)
}
