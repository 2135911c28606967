use gristmill_core::ops::{Adamw, AdamwRule, Moments, Noise};
use gristmill_core::{DType, Error, Result, Tensor};

use super::strided;
use crate::backend::Context;
use crate::driver::Args;

/// Bytes of `Shared` in kernels/adamw.cu.
const SHARED: usize = 4 * (2 * 256 + 2 * 256 + 2 * 8);

/// A step whose gradient and parameter are at these addresses; otherwise as [`Adamw`].
pub(super) struct Step<'a> {
    pub(super) grad: (u64, DType),
    pub(super) param: (u64, DType),
    pub(super) elements: usize,
    pub(super) moments: &'a Moments,
    pub(super) rule: AdamwRule,
    pub(super) noise: Option<Noise>,
}

pub(super) fn run(op: &Adamw, cx: &mut Context<'_>) -> Result<()> {
    let at = |tensor: &Tensor| Ok::<_, Error>((cx.at(tensor)?, tensor.dtype()));
    let (grad, param, elements) = (at(&op.grad)?, at(&op.param)?, op.param.len());
    Step { grad, param, elements, moments: &op.moments, rule: op.rule, noise: op.noise }.run(cx)
}

impl Step<'_> {
    pub(super) fn run(self, cx: &Context<'_>) -> Result<()> {
        let Self { grad, param, elements, moments, rule, noise } = self;
        if elements == 0 {
            return Ok(());
        }
        let (states, state, shared) = match moments {
            Moments::Full { m, v } => ([cx.at(m)?, cx.at(v)?, 0, 0], m.dtype().name(), 0),
            Moments::Int8 { codes, absmax, maps } => {
                ([cx.at(codes)?, 0, cx.at(absmax)?, cx.at(maps)?], "int8", SHARED)
            }
        };
        // Without anything that is stored as bf16 there is nothing to round.
        let halves = param.1 == DType::Bf16 || state == "bf16";
        let noise = noise.filter(|_| halves);
        let (seed, stream) = noise.map_or((0, 0), |noise| (noise.seed, noise.stream));
        let mut args = Args::new().u64(grad.0).u64(param.0);
        args = states.into_iter().fold(args, Args::u64).size(elements).u64(seed).u64(stream);
        args = rule.betas().into_iter().fold(args, Args::f32);
        args = args.f32(rule.eps).f32(rule.step).f32(rule.keep).f32(rule.grad_scale);
        let suffix = if noise.is_some() { "_noise" } else { "" };
        let kernel = format!("adamw_{}_{}_{state}{suffix}", grad.1, param.1);
        cx.launch("adamw", kernel, strided(elements), shared, &args.finish())
    }
}
