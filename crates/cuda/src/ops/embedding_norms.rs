use gristmill_core::ops::EmbeddingNorms;
use gristmill_core::{Result, Tensor};

use super::{BLOCK, WARP, blocks, segments, signed, strided};
use crate::backend::Context;
use crate::driver::Args;

/// Shared memory for a sum of each warp.
pub(super) const SHARED: usize = 8 * BLOCK / WARP;

pub(super) fn run(op: &EmbeddingNorms, cx: &mut Context<'_>) -> Result<()> {
    const NAME: &str = "embedding_norms";
    let (rows, d) = op.dy.shape().rows_cols();
    let samples = op.out.len();
    let [next, of_rows, terms] = cx.scratch([4 * rows, 4 * rows, 8 * rows])?;
    let args = Tables {
        ids: &op.ids,
        offsets: &op.offsets,
        next,
        samples: of_rows,
        vocabulary: op.vocabulary,
        padding: op.padding_idx,
    }
    .args(cx)?
    .u64(cx.at(&op.dy)?)
    .u64(terms)
    .u64(cx.at(&op.out)?)
    .size(d)
    .finish();
    cx.launch(NAME, "embedding_norms_links", strided(rows.max(samples)), 0, &args)?;
    cx.launch(NAME, format!("embedding_norms_{}", op.dy.dtype()), blocks(rows), SHARED, &args)?;
    cx.launch(NAME, "embedding_norms_sum", blocks(samples), SHARED, &args)
}

/// `Tables` of kernels/tables.cuh.
pub(super) struct Tables<'a> {
    pub(super) ids: &'a Tensor,
    pub(super) offsets: &'a Tensor,
    /// Memory for a word for each row.
    pub(super) next: u64,
    /// Likewise.
    pub(super) samples: u64,
    pub(super) vocabulary: usize,
    pub(super) padding: Option<u32>,
}

impl Tables<'_> {
    pub(super) fn args(&self, cx: &Context<'_>) -> Result<Args> {
        let args = segments(Args::new(), cx, self.offsets, self.ids.len())?;
        Ok(args
            .u64(cx.at(self.ids)?)
            .u64(self.next)
            .u64(self.samples)
            .size(self.offsets.len() - 1)
            .size(self.vocabulary)
            .u32(signed(self.ids))
            .u32(self.padding.unwrap_or(u32::MAX)))
    }
}
