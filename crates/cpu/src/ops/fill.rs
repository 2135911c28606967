use gristmill_core::Result;
use gristmill_core::ops::Fill;

use super::elementwise::pieces;
use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &Fill, access: &Access) -> Result<()> {
    with!(op.out.dtype(), all T => {
        pieces(access.output::<T>(&op.out)?, |_, piece| piece.fill(T::nearest(op.value)));
        Ok(())
    })
}
