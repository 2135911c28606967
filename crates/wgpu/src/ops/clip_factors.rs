use gristmill_core::Result;
use gristmill_core::ops::ClipFactors;

use super::{Run, fits_row};
use crate::window::Window;

pub(super) fn run(run: &mut Run, op: &ClipFactors) -> Result<()> {
    let (groups, samples) = op.squared.shape().rows_cols();
    fits_row(run, op.squared.len().max(samples + groups))?;
    let slot = run.ctx.fault_slot(run.serial)?;
    let whole = |tensor, run: &Run| Window::of(tensor, run.buffers, 0, tensor.len());
    let squared = whole(&op.squared, run)?;
    let bounds = whole(&op.max_norms, run)?;
    let factors = whole(&op.factors, run)?;
    let counts = whole(&op.counts, run)?;
    let weights = op.weights.as_ref().map(|w| whole(w, run)).transpose()?;
    let states = run.ctx.scratch(4 * samples as u64)?;
    let (rule, gamma) = op.rule.code();
    for (stage, out, workgroups) in
        [("factors", &factors, samples.div_ceil(256)), ("counts", &counts, groups)]
    {
        let kernel = run.ctx.kernel("clip_factors").def("STAGE", stage).flag("WEIGHTS", weights.is_some());
        let mut kernel = kernel
            .read(&squared)
            .read(&bounds)
            .write(&Window::whole(&states))
            .write(&run.ctx.faults.window())
            .write(out);
        if let Some(weights) = &weights {
            kernel = kernel.read(weights);
        }
        kernel
            .count("groups", groups)
            .count("samples", samples)
            .param("squared_at", squared.at)
            .param("weights_at", weights.as_ref().map_or(0, |w| w.at))
            .param("bounds_at", bounds.at)
            .param("factors_at", factors.at)
            .param("counts_at", counts.at)
            .param("rule", rule)
            .number("gamma", gamma)
            .param("slot", slot)
            .run(run.ctx, workgroups, 8 * op.squared.len() as u64)?;
    }
    run.ctx.done_with(states);
    Ok(())
}
