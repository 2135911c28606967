use gristmill_core::ops::{ClipLinearFused, ClipPath, LinearSizes, NormsMethod};
use gristmill_core::{DeviceInfo, Result};

use super::linear_grad::Layer;
use super::matmul::tile_bytes;
use super::{BLOCK, by_warps, grid, segments, strided};
use crate::backend::{CACHE, Context};
use crate::driver::Args;

const NAME: &str = "clip_linear_fused";

pub(super) fn run(op: &ClipLinearFused, cx: &mut Context<'_>) -> Result<()> {
    let layer = Layer { x: &op.x, dy: &op.dy, offsets: &op.offsets, sizes: op.sizes() };
    let samples = layer.sizes.samples;
    if samples == 0 {
        return Ok(());
    }
    let args = args(op, cx)?.finish();
    cx.launch(NAME, "clip_linear_fused_check", strided(samples), 0, &args)?;
    if op.path == ClipPath::Fused {
        return fused(op, &layer, cx);
    }
    let method = NormsMethod::fewest_operations(layer.sizes);
    layer.norms(cx, method, op.bias.is_some(), &op.norms)?;
    cx.launch(NAME, "clip_linear_fused_factors", strided(samples), 0, &args)?;
    layer.add(cx, &op.factors, &op.grad, op.bias.as_ref())
}

/// `ClipLinearFusedArgs` of the kernel.
fn args(op: &ClipLinearFused, cx: &Context<'_>) -> Result<Args> {
    let LinearSizes { rows, samples, .. } = op.sizes();
    let (rule, gamma) = op.rule.code();
    Ok(segments(Args::new(), cx, &op.offsets, rows)?
        .u64(cx.at_option(op.weights.as_ref())?)
        .u64(cx.at(&op.norms)?)
        .u64(cx.at(&op.factors)?)
        .size(samples)
        .f32(op.max_norm)
        .u32(rule)
        .f32(gamma)
        .aligned())
}

/// How many samples have their gradients in half of the second-level cache, or why none has.
pub(crate) fn keeps(sizes: LinearSizes, info: &DeviceInfo) -> std::result::Result<usize, String> {
    /// A gradient however small is worth a launch together with so many others.
    const MOST: usize = 4096;
    let half = info.limit(CACHE).unwrap_or(0) as usize / 2;
    let bytes = 4 * sizes.p * sizes.d;
    match half / bytes.max(1) {
        0 => Err(format!(
            "the gradient of a sample, {bytes} bytes, in half of the second-level cache, {half} bytes: path two-phase"
        )),
        samples => Ok(samples.min(MOST)),
    }
}

/// Gradients of some samples after the other are kept until their factors are known.
fn fused(op: &ClipLinearFused, layer: &Layer, cx: &mut Context<'_>) -> Result<()> {
    let LinearSizes { d, p, samples, .. } = layer.sizes;
    // `supports` let nothing through that does not fit.
    let together = keeps(layer.sizes, &cx.driver().info()).unwrap_or(1).min(samples);
    let parts = layer.tiles() + op.bias.as_ref().map_or(0, |_| p.div_ceil(BLOCK));
    let of_bias = if op.bias.is_some() { 8 * together * p } else { 0 };
    let memory = cx.scratch([4 * together * p * d, of_bias, 8 * together * parts])?;
    for first in (0..samples).step_by(together) {
        let count = together.min(samples - first);
        let args = layer.members(args(op, cx)?, cx)?;
        let args = memory.into_iter().fold(args, Args::u64).u64(cx.at(&op.grad)?);
        let args = args.u64(cx.at_option(op.bias.as_ref())?).size(first).size(count).finish();
        if parts > 0 {
            let (keep, dtype) = (grid([count * parts, 1, 1])?, op.x.dtype());
            cx.launch(NAME, format!("{NAME}_keep_{dtype}"), keep, tile_bytes(dtype), &args)?;
        }
        cx.launch(NAME, "clip_linear_fused_measure", by_warps(count), 0, &args)?;
        if parts > 0 {
            cx.launch(NAME, "clip_linear_fused_add", strided(p * d.max(1)), 0, &args)?;
        }
    }
    Ok(())
}
