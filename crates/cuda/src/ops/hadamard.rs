use gristmill_core::Result;
use gristmill_core::ops::Hadamard;

use super::blocks;
use crate::backend::Context;
use crate::driver::Args;

/// Elements of a block of threads.
const TILE: usize = Hadamard::BLOCK;

pub(super) fn run(op: &Hadamard, cx: &mut Context<'_>) -> Result<()> {
    let n = op.x.len();
    if n == 0 {
        return Ok(());
    }
    let args = Args::new().u64(cx.at(&op.x)?).u64(cx.at(&op.out)?).size(n);
    let args = args.u32(op.block as u32).f32(op.factor()).finish();
    let grid = blocks(n.div_ceil(TILE));
    cx.launch("hadamard", format!("hadamard_{}", op.x.dtype()), grid, 4 * TILE, &args)
}
