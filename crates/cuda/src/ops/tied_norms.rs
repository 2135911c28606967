use gristmill_core::Result;
use gristmill_core::ops::TiedNorms;

use super::embedding_norms::{SHARED, Tables};
use super::{blocks, strided};
use crate::backend::Context;

pub(super) fn run(op: &TiedNorms, cx: &mut Context<'_>) -> Result<()> {
    const NAME: &str = "tied_norms";
    let (rows, d) = op.e.shape().rows_cols();
    let samples = op.out.len();
    let [of_rows, terms] = cx.scratch([4 * rows, 8 * rows])?;
    let args = Tables {
        ids: &op.ids,
        offsets: &op.offsets,
        next: 0,
        samples: of_rows,
        vocabulary: op.dlogits.shape().rows_cols().1,
        padding: None,
    }
    .args(cx)?
    .u64(cx.at(&op.e)?)
    .u64(cx.at(&op.h)?)
    .u64(cx.at(&op.dlogits)?)
    .u64(terms)
    .u64(cx.at(&op.out)?)
    .size(d)
    .finish();
    cx.launch(NAME, "tied_norms_samples", strided(rows.max(samples)), 0, &args)?;
    cx.launch(NAME, format!("tied_norms_{}", op.e.dtype()), blocks(rows), SHARED, &args)?;
    cx.launch(NAME, "tied_norms_sum", blocks(samples), SHARED, &args)
}
