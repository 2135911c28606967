use gristmill_core::ops::GatherColumns;
use gristmill_core::{Result, Tensor};

use super::{signed, strided};
use crate::backend::Context;
use crate::driver::Args;

pub(super) fn run(op: &GatherColumns, cx: &mut Context<'_>) -> Result<()> {
    launch("gather_columns", &op.x, &op.out, &op.index, op.x.shape().rows_cols(), cx)
}

/// A thread for each element of `[rows, k]`; the kernel takes two tensors, the rows, and `ColumnIndex` of
/// kernels/column_index.cuh.
pub(super) fn launch(
    name: &'static str,
    from: &Tensor,
    to: &Tensor,
    index: &Tensor,
    (rows, columns): (usize, usize),
    cx: &mut Context<'_>,
) -> Result<()> {
    let (n, k) = (rows * index.len(), index.len());
    if n == 0 {
        return Ok(());
    }
    let args = Args::new().u64(cx.at(from)?).u64(cx.at(to)?).size(rows);
    let args = args.u64(cx.at(index)?).u64(cx.status).size(k).size(columns).u32(signed(index)).finish();
    cx.launch(name, format!("{name}_{}", from.dtype()), strided(n), 0, &args)
}
