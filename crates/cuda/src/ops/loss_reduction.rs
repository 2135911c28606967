use gristmill_core::Result;
use gristmill_core::ops::LossReduction;

use super::{Team, segments};
use crate::backend::Context;

pub(super) fn run(op: &LossReduction, cx: &mut Context<'_>) -> Result<()> {
    let (rows, n) = (op.score.len(), op.prior.len());
    let team = Team::new(cx, rows, n / rows.max(1), 16)?;
    let mut args = segments(team.args(), cx, &op.offsets, n)?;
    for tensor in [&op.prior, &op.conditional, &op.prior_sum, &op.conditional_sum, &op.score] {
        args = args.u64(cx.at(tensor)?);
    }
    team.launch(cx, "loss_reduction", "", &args.finish())
}
