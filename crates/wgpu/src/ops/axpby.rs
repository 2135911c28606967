use gristmill_core::Result;
use gristmill_core::ops::Axpby;

use super::{Run, dtype, elements};

pub(super) fn run(run: &mut Run, op: &Axpby) -> Result<()> {
    elements::run(run, "axpby", Some(&op.x), &op.y, |kernel| {
        kernel.def("X", dtype(op.x.dtype())).number("alpha", op.alpha).number("beta", op.beta)
    })
}
