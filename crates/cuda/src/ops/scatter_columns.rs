use gristmill_core::Result;
use gristmill_core::ops::ScatterColumns;

use super::gather_columns::launch;
use crate::backend::Context;

pub(super) fn run(op: &ScatterColumns, cx: &mut Context<'_>) -> Result<()> {
    launch("scatter_columns", &op.y, &op.out, &op.index, op.out.shape().rows_cols(), cx)
}
