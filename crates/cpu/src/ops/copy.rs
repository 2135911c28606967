use gristmill_core::Result;
use gristmill_core::ops::Copy;

use super::elementwise::pieces;
use crate::access::Access;
use crate::number::with;

pub(super) fn run(op: &Copy, access: &Access) -> Result<()> {
    with!(op.x.dtype(), all T => {
        let x = access.input::<T>(&op.x)?;
        let out = access.output::<T>(&op.out)?;
        pieces(out, |start, piece| piece.copy_from_slice(&x[start..][..piece.len()]));
        Ok(())
    })
}
