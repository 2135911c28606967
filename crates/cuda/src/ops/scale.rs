use gristmill_core::Result;
use gristmill_core::ops::Scale;

use super::elementwise;
use crate::backend::Context;
use crate::driver::Args;

pub(super) fn run(op: &Scale, cx: &mut Context<'_>) -> Result<()> {
    let n = op.x.len();
    if n == 0 {
        return Ok(());
    }
    let args = Args::new().u64(cx.at(&op.x)?).u64(cx.at(&op.out)?).size(n).f32(op.alpha).finish();
    cx.launch("scale", format!("scale_{}", op.x.dtype()), elementwise(n), 0, &args)
}
