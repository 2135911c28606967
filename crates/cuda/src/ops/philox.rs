use gristmill_core::Result;
use gristmill_core::ops::{Draw, Philox};

use super::strided;
use crate::backend::Context;
use crate::driver::Args;

pub(super) fn run(op: &Philox, cx: &mut Context<'_>) -> Result<()> {
    let n = op.out.len();
    if n == 0 {
        return Ok(());
    }
    let kernel = match op.draw {
        Draw::Bits => "philox_bits",
        Draw::Uniform => "philox_uniform",
        Draw::Normal => "philox_normal",
    };
    let args = Args::new().u64(cx.at(&op.out)?).size(n).u64(op.seed).u64(op.stream).u64(op.offset).finish();
    cx.launch("philox", kernel, strided(n.div_ceil(4) + 1), 0, &args)
}
