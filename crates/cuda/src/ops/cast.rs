use gristmill_core::Result;
use gristmill_core::ops::Cast;

use super::copy::copy;
use super::elementwise;
use crate::backend::Context;
use crate::driver::Args;

pub(super) fn run(op: &Cast, cx: &mut Context<'_>) -> Result<()> {
    let (x, out, n) = (cx.at(&op.x)?, cx.at(&op.out)?, op.x.len());
    if op.x.dtype() == op.out.dtype() {
        return copy(cx, x, out, op.out.bytes());
    }
    if n == 0 {
        return Ok(());
    }
    let args = Args::new().u64(x).u64(out).size(n).finish();
    cx.launch("cast", format!("cast_{}_{}", op.x.dtype(), op.out.dtype()), elementwise(n), 0, &args)
}
