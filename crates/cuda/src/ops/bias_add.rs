use gristmill_core::Result;
use gristmill_core::ops::BiasAdd;

use super::elementwise;
use crate::backend::Context;
use crate::driver::Args;

pub(super) fn run(op: &BiasAdd, cx: &mut Context<'_>) -> Result<()> {
    let n = op.x.len();
    if n == 0 {
        return Ok(());
    }
    let args = Args::new().u64(cx.at(&op.x)?).u64(cx.at(&op.bias)?).size(n).size(op.bias.len()).finish();
    cx.launch("bias_add", format!("bias_add_{}", op.x.dtype()), elementwise(n), 0, &args)
}
