use gristmill_core::Result;
use gristmill_core::ops::Fill;

use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &Fill, access: &Access) -> Result<()> {
    with!(op.out.dtype(), all T => {
        access.output::<T>(&op.out)?.fill(T::nearest(op.value));
        Ok(())
    })
}
