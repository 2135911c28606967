use gristmill_core::Result;
use gristmill_core::ops::Copy;

use super::strided;
use crate::backend::Context;
use crate::driver::Args;

pub(super) fn run(op: &Copy, cx: &mut Context<'_>) -> Result<()> {
    copy(cx, cx.at(&op.x)?, cx.at(&op.out)?, op.out.bytes())
}

/// Copies bytes, in the widest accesses at which both addresses can be aligned together.
pub(super) fn copy(cx: &Context<'_>, x: u64, out: u64, bytes: usize) -> Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    let unit = 1usize << (x ^ out).trailing_zeros().min(4);
    let args = Args::new().u64(x).u64(out).size(bytes).finish();
    cx.launch("copy", format!("copy_{unit}"), strided(bytes.div_ceil(unit)), 0, &args)
}
