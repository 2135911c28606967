use gristmill_core::ops::{ClipLinearFused, ClipPath, NormsMethod};
use gristmill_core::{Result, Tensor};

use super::Run;
use super::linear_grad::{Fresh, Gradient, Layer, Numbers};
use crate::window::{Window, pieces};

pub(super) fn run(run: &mut Run, op: &ClipLinearFused) -> Result<()> {
    let layer = Layer { x: &op.x, dy: &op.dy, offsets: &op.offsets, sizes: op.sizes() };
    let samples = layer.sizes.samples;
    layer.check(run, op.weights.as_ref())?;
    if op.path == ClipPath::TwoPhase {
        layer.norms(run, NormsMethod::fewest_operations(layer.sizes), op.bias.is_some(), &op.norms)?;
        factors(run, op, (0, samples))?;
        let factors = Some(&Numbers::Tensor(&op.factors));
        layer.weight(run, (0, samples), factors, &Numbers::Tensor(&op.grad), Fresh::Add)?;
        let bias = op.bias.as_ref().map(Numbers::Tensor);
        return bias.map_or(Ok(()), |bias| layer.bias(run, (0, samples), factors, &bias, Fresh::Add));
    }
    let gradient = Gradient::new(run, layer.sizes, op.bias.is_some())?;
    for sample in 0..samples {
        gradient.measure(run, &layer, sample, &op.norms, None)?;
        factors(run, op, (sample, 1))?;
        add(run, &gradient.weight, &op.factors, sample, &op.grad)?;
        if let (Some(of_sample), Some(bias)) = (&gradient.bias, &op.bias) {
            add(run, of_sample, &op.factors, sample, bias)?;
        }
    }
    gradient.done(run);
    Ok(())
}

/// Norms of their squares, and factors, of some samples.
fn factors(run: &mut Run, op: &ClipLinearFused, (first, len): (usize, usize)) -> Result<()> {
    let norms = Window::of(&op.norms, run.buffers, first, len)?;
    let factors = Window::of(&op.factors, run.buffers, first, len)?;
    let (rule, gamma) = op.rule.code();
    let mut kernel = run
        .ctx
        .kernel("clip_linear_fused")
        .def("STAGE", "factors")
        .flag("WEIGHTS", op.weights.is_some())
        .write(&norms)
        .write(&factors)
        .param("weights_at", 0);
    if let Some(weights) = &op.weights {
        let weights = Window::of(weights, run.buffers, first, len)?;
        kernel = kernel.read(&weights).param("weights_at", weights.at);
    }
    kernel
        .count("samples", len)
        .param("norms_at", norms.at)
        .param("factors_at", factors.at)
        .number("max_norm", op.max_norm)
        .param("rule", rule)
        .number("gamma", gamma)
        .run(run.ctx, len.div_ceil(256), 12 * len as u64)
}

/// Adds the gradient of a sample, with its factor.
fn add(run: &mut Run, x: &wgpu::Buffer, factors: &Tensor, sample: usize, out: &Tensor) -> Result<()> {
    let factor = Window::of(factors, run.buffers, sample, 1)?;
    for (first, len) in pieces(out.len(), run.ctx.window_len(4)) {
        let x = Window::cut(x, 4 * first as u64, 4 * len as u64, 4);
        let to = Window::of(out, run.buffers, first, len)?;
        run.ctx
            .kernel("clip_linear_fused")
            .def("STAGE", "add")
            .read(&x)
            .write(&to)
            .read(&factor)
            .count("len", len)
            .param("x_at", x.at)
            .param("out_at", to.at)
            .param("factor_at", factor.at)
            .run(run.ctx, len.div_ceil(256), 12 * len as u64)?;
    }
    Ok(())
}
