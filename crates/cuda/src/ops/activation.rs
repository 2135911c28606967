use gristmill_core::Result;
use gristmill_core::ops::{Activation, ActivationKind};

use super::elementwise;
use crate::backend::Context;
use crate::driver::Args;

pub(super) fn run(op: &Activation, cx: &mut Context<'_>) -> Result<()> {
    let (n, (_, columns)) = (op.x.len(), op.x.shape().rows_cols());
    if n == 0 {
        return Ok(());
    }
    let args = Args::new()
        .u64(cx.at(&op.x)?)
        .u64(cx.at_option(op.bias.as_ref())?)
        .u64(cx.at_option(op.times.as_ref())?)
        .u64(cx.at(&op.out)?)
        .size(n)
        .size(columns)
        .finish();
    let kernel = format!("activation_{}_{}", kind(op.kind), op.x.dtype());
    cx.launch("activation", kernel, elementwise(n), 0, &args)
}

/// The name of a function in kernels.
pub(super) fn kind(kind: ActivationKind) -> &'static str {
    match kind {
        ActivationKind::Gelu => "gelu",
        ActivationKind::GeluTanh => "gelu_tanh",
        ActivationKind::Silu => "silu",
    }
}
