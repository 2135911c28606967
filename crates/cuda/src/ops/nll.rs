use gristmill_core::Result;
use gristmill_core::ops::Nll;

use super::{Team, logits};
use crate::backend::Context;

pub(super) fn run(op: &Nll, cx: &mut Context<'_>) -> Result<()> {
    let (rows, columns) = op.logits.shape().rows_cols();
    let team = Team::new(cx, rows, op.vocab, 8)?;
    let args = logits(team.args(), cx, (op.bias.as_ref(), op.vocab, op.softcap), &op.targets)?;
    let args = args.u64(cx.at(&op.logits)?).u64(cx.at(&op.out)?).size(columns).finish();
    team.launch(cx, "nll", &format!("_{}", op.logits.dtype()), &args)
}
