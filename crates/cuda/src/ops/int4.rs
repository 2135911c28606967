use gristmill_core::Result;
use gristmill_core::ops::{INT4_GROUP, Int4Pack, Int4Unpack};

use super::{by_warps, strided};
use crate::backend::Context;
use crate::driver::Args;

pub(super) fn pack(op: &Int4Pack, cx: &mut Context<'_>) -> Result<()> {
    const NAME: &str = "int4_pack";
    let n = op.x.len();
    if n == 0 {
        return Ok(());
    }
    let args = Args::new().u64(cx.at(&op.x)?).u64(cx.at(&op.codes)?);
    let args = args.u64(cx.at(&op.scales)?).u64(cx.at(&op.zeros)?).size(n).finish();
    cx.launch(NAME, NAME, by_warps(n.div_ceil(INT4_GROUP)), 0, &args)
}

pub(super) fn unpack(op: &Int4Unpack, cx: &mut Context<'_>) -> Result<()> {
    const NAME: &str = "int4_unpack";
    let n = op.out.len();
    if n == 0 {
        return Ok(());
    }
    let args = Args::new().u64(cx.at(&op.codes)?).u64(cx.at(&op.scales)?);
    let args = args.u64(cx.at(&op.zeros)?).u64(cx.at(&op.out)?).size(n).finish();
    cx.launch(NAME, NAME, strided(n.div_ceil(8)), 0, &args)
}
