use gristmill_core::Result;
use gristmill_core::ops::SoftmaxStats;

use super::Team;
use crate::backend::Context;

pub(super) fn run(op: &SoftmaxStats, cx: &mut Context<'_>) -> Result<()> {
    let columns = op.x.shape().rows_cols().1;
    let team = Team::new(cx, op.max.len(), columns, 8)?;
    let args = team.args().u64(cx.at(&op.x)?).u64(cx.at(&op.max)?).u64(cx.at(&op.lse)?).size(columns);
    team.launch(cx, "softmax_stats", &format!("_{}", op.x.dtype()), &args.finish())
}
