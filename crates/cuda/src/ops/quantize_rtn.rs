use gristmill_core::Result;
use gristmill_core::ops::QuantizeRtn;

use super::by_warps;
use crate::backend::Context;
use crate::driver::Args;

pub(super) fn run(op: &QuantizeRtn, cx: &mut Context<'_>) -> Result<()> {
    if op.x.is_empty() {
        return Ok(());
    }
    let groups = op.x.len() / op.group;
    let args = Args::new().u64(cx.at(&op.x)?).u64(cx.at(&op.out)?).size(groups).size(op.group);
    let args = args.f32(op.rule.levels()).f32(op.rule.clip).u32(op.rule.symmetric.into()).finish();
    cx.launch("quantize_rtn", format!("quantize_rtn_{}", op.x.dtype()), by_warps(groups), 0, &args)
}
