use gristmill_core::ops::Cast;
use gristmill_core::{DType, Result};

use super::copy::copy;
use super::elementwise;
use crate::backend::Context;
use crate::driver::Args;

pub(super) fn run(op: &Cast, cx: &mut Context<'_>) -> Result<()> {
    let (x, out, n) = (cx.at(&op.x)?, cx.at(&op.out)?, op.x.len());
    if op.x.dtype() == op.out.dtype() {
        return copy(cx, x, out, op.out.bytes());
    }
    cast(cx, (x, op.x.dtype()), (out, op.out.dtype()), n)
}

/// Casts so many elements from one address to another.
pub(super) fn cast(
    cx: &Context<'_>,
    (x, from): (u64, DType),
    (out, to): (u64, DType),
    elements: usize,
) -> Result<()> {
    if elements == 0 {
        return Ok(());
    }
    let args = Args::new().u64(x).u64(out).size(elements).finish();
    cx.launch("cast", format!("cast_{from}_{to}"), elementwise(elements), 0, &args)
}
