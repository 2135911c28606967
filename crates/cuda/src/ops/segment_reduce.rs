use gristmill_core::Result;
use gristmill_core::ops::SegmentReduce;

use super::row_reduce::suffix;
use super::{Team, segments};
use crate::backend::Context;

pub(super) fn run(op: &SegmentReduce, cx: &mut Context<'_>) -> Result<()> {
    let rows = op.out.len();
    // Segments may be of any length; on average they have this.
    let team = Team::new(cx, rows, op.x.len() / rows.max(1), 8)?;
    let args = segments(team.args(), cx, &op.offsets, op.x.len())?;
    let args = args.u64(cx.at(&op.x)?).u64(cx.at(&op.out)?).finish();
    team.launch(cx, "segment_reduce", &suffix(op.reduction, op.x.dtype()), &args)
}
