use gristmill_core::ops::{Adamw, Moments};
use gristmill_core::{DType, Result};

use super::strided;
use crate::backend::Context;
use crate::driver::Args;

/// Bytes of `Shared` in kernels/adamw.cu.
const SHARED: usize = 4 * (2 * 256 + 2 * 256 + 2 * 8);

pub(super) fn run(op: &Adamw, cx: &mut Context<'_>) -> Result<()> {
    let n = op.param.len();
    if n == 0 {
        return Ok(());
    }
    let (states, state, shared) = match &op.moments {
        Moments::Full { m, v } => ([cx.at(m)?, cx.at(v)?, 0, 0], m.dtype().name(), 0),
        Moments::Int8 { codes, absmax, maps } => {
            ([cx.at(codes)?, 0, cx.at(absmax)?, cx.at(maps)?], "int8", SHARED)
        }
    };
    // Without anything that is stored as bf16 there is nothing to round.
    let halves = op.param.dtype() == DType::Bf16 || state == "bf16";
    let noise = op.noise.filter(|_| halves);
    let (seed, stream) = noise.map_or((0, 0), |noise| (noise.seed, noise.stream));
    let mut args = Args::new().u64(cx.at(&op.grad)?).u64(cx.at(&op.param)?);
    args = states.into_iter().fold(args, Args::u64).size(n).u64(seed).u64(stream);
    args = op.rule.betas().into_iter().fold(args, Args::f32);
    args = args.f32(op.rule.eps).f32(op.rule.step).f32(op.rule.keep).f32(op.rule.grad_scale);
    let args = args.finish();
    let suffix = if noise.is_some() { "_noise" } else { "" };
    let kernel = format!("adamw_{}_{}_{state}{suffix}", op.grad.dtype(), op.param.dtype());
    cx.launch("adamw", kernel, strided(n), shared, &args)
}
