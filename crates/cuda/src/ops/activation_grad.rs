use gristmill_core::Result;
use gristmill_core::ops::ActivationGrad;

use super::activation::kind;
use super::elementwise;
use crate::backend::Context;
use crate::driver::Args;

pub(super) fn run(op: &ActivationGrad, cx: &mut Context<'_>) -> Result<()> {
    let n = op.x.len();
    if n == 0 {
        return Ok(());
    }
    let args = Args::new().u64(cx.at(&op.x)?).u64(cx.at(&op.dy)?).u64(cx.at(&op.out)?).size(n).finish();
    let kernel = format!("activation_grad_{}_{}", kind(op.kind), op.x.dtype());
    cx.launch("activation_grad", kernel, elementwise(n), 0, &args)
}
