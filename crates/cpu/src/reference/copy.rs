use gristmill_core::Result;
use gristmill_core::ops::Copy;

use crate::access::Access;
use crate::number::with;

pub(super) fn run(op: &Copy, access: &Access) -> Result<()> {
    with!(op.x.dtype(), all T => {
        access.output::<T>(&op.out)?.copy_from_slice(access.input::<T>(&op.x)?);
        Ok(())
    })
}
