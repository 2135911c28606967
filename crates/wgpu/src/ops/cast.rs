use gristmill_core::Result;
use gristmill_core::ops::{Cast, Copy};

use super::{Run, copy, dtype, elements};

pub(super) fn run(run: &mut Run, op: &Cast) -> Result<()> {
    let x = &op.x;
    if x.dtype() == op.out.dtype() {
        return copy::run(run, &Copy { x: x.clone(), out: op.out.clone() });
    }
    elements::run(run, "cast", Some(x), &op.out, |kernel| kernel.def("X", dtype(x.dtype())))
}
