use gristmill_core::Result;
use gristmill_core::ops::ClipFactors;

use super::{BLOCK, blocks, strided};
use crate::backend::Context;
use crate::driver::Args;

pub(super) fn run(op: &ClipFactors, cx: &mut Context<'_>) -> Result<()> {
    const NAME: &str = "clip_factors";
    let (groups, samples) = op.squared.shape().rows_cols();
    if groups == 0 && samples == 0 {
        return Ok(());
    }
    let [states] = cx.scratch([4 * samples])?;
    let (rule, gamma) = op.rule.code();
    let args = Args::new()
        .u64(cx.at(&op.squared)?)
        .u64(cx.at_option(op.weights.as_ref())?)
        .u64(cx.at(&op.max_norms)?)
        .u64(cx.at(&op.factors)?)
        .u64(cx.at(&op.counts)?)
        .u64(states)
        .u64(cx.status)
        .size(groups)
        .size(samples)
        .u32(rule)
        .f32(gamma)
        .finish();
    cx.launch(NAME, NAME, strided(samples), 0, &args)?;
    cx.launch(NAME, "clip_factors_counts", blocks(groups), 4 * 3 * BLOCK, &args)
}
