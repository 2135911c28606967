use gristmill_core::Result;
use gristmill_core::ops::Scale;

use super::{Run, elements};

pub(super) fn run(run: &mut Run, op: &Scale) -> Result<()> {
    elements::run(run, "scale", Some(&op.x), &op.out, |kernel| kernel.number("alpha", op.alpha))
}
