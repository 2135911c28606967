use gristmill_core::ops::{LowRankAdam, LowRankSizes, MatmulSizes};
use gristmill_core::{DType, Result, Tensor};

use super::adamw::{self, Step};
use super::matmul::{Multiply, multiply};
use super::place::Place;
use super::{Run, dtype, elements};
use crate::window::{Window, pieces};

/// The projection, the step in the subspace and the way back: what is between them is scratch memory.
pub(super) fn run(run: &mut Run, op: &LowRankAdam) -> Result<()> {
    let LowRankSizes { rows, columns, rank, kept, depth } = op.sizes();
    if kept == 0 {
        return Ok(());
    }
    let (grad, basis) = (wide(run, &op.grad)?, wide(run, &op.basis)?);
    let [inner, direction] = [0; 2].map(|_| run.ctx.scratch(4 * (kept * rank) as u64));
    let (inner, direction) = (inner?, direction?);
    let [grad_at, basis_at] = [(&grad, &op.grad), (&basis, &op.basis)]
        .map(|(wide, tensor)| wide.as_ref().map_or(Place::Tensor(tensor), Place::Scratch));
    let project = Multiply {
        a: grad_at,
        b: basis_at,
        out: Place::Scratch(&inner),
        trans_a: !op.right,
        trans_b: false,
        alpha: 1.0,
        beta: 0.0,
    };
    let sizes = |m, n, k| MatmulSizes { batch: 1, m, n, k, batched_b: true };
    multiply(run, &project, sizes(kept, rank, depth))?;
    let (rule, _) = op.rule.direction();
    let step = Step {
        grad: Place::Scratch(&inner),
        param: Place::Scratch(&direction),
        elements: kept * rank,
        moments: &op.moments,
        rule,
        noise: op.noise,
    };
    adamw::step(run, &step)?;
    let direction_at = Place::Scratch(&direction);
    let (a, b) = if op.right { (direction_at, basis_at) } else { (basis_at, direction_at) };
    let back = Multiply {
        a,
        b,
        out: Place::Tensor(&op.weight),
        trans_a: false,
        trans_b: true,
        alpha: -op.rule.step,
        beta: op.rule.keep,
    };
    if op.weight.dtype() == DType::F32 {
        multiply(run, &back, sizes(rows, columns, rank))?;
    } else {
        let update = run.ctx.scratch(4 * (rows * columns) as u64)?;
        multiply(
            run,
            &Multiply { out: Place::Scratch(&update), beta: 0.0, ..back },
            sizes(rows, columns, rank),
        )?;
        round(run, op, Place::Scratch(&update))?;
        run.ctx.done_with(update);
    }
    [Some(inner), Some(direction), grad, basis].into_iter().flatten().for_each(|b| run.ctx.done_with(b));
    Ok(())
}

/// Adds the update to a weight of halves.
fn round(run: &mut Run, op: &LowRankAdam, update: Place) -> Result<()> {
    for (first, len) in pieces(op.weight.len(), run.ctx.window_len(4)) {
        let (x, out) = (update.window(run, first, len)?, Window::of(&op.weight, run.buffers, first, len)?);
        let kernel = run.ctx.kernel("low_rank_adam").flag("NOISE", op.noise.is_some());
        let kernel = adamw::noise(kernel, op.noise).count("first", first).number("keep", op.rule.keep);
        elements::dispatch(run.ctx, kernel, Some(&x), &out, "bf16", 2, len)?;
    }
    Ok(())
}

/// The numbers of a tensor as `f32`, where it has others.
fn wide(run: &mut Run, tensor: &Tensor) -> Result<Option<wgpu::Buffer>> {
    if tensor.dtype() == DType::F32 {
        return Ok(None);
    }
    let scratch = run.ctx.scratch(4 * tensor.len() as u64)?;
    for (first, len) in pieces(tensor.len(), run.ctx.window_len(4)) {
        let x = Window::of(tensor, run.buffers, first, len)?;
        let to = Place::Scratch(&scratch).window(run, first, len)?;
        let kernel = run.ctx.kernel("cast").def("X", dtype(tensor.dtype()));
        elements::dispatch(run.ctx, kernel, Some(&x), &to, "f32", 4, len)?;
    }
    Ok(Some(scratch))
}
