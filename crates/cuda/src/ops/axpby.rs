use gristmill_core::Result;
use gristmill_core::ops::Axpby;

use super::elementwise;
use crate::backend::Context;
use crate::driver::Args;

pub(super) fn run(op: &Axpby, cx: &mut Context<'_>) -> Result<()> {
    let n = op.y.len();
    if n == 0 {
        return Ok(());
    }
    let args = Args::new().u64(cx.at(&op.x)?).u64(cx.at(&op.y)?).size(n).f32(op.alpha).f32(op.beta).finish();
    cx.launch("axpby", format!("axpby_{}_{}", op.x.dtype(), op.y.dtype()), elementwise(n), 0, &args)
}
