use gristmill_core::ops::Gather;
use gristmill_core::{DType, Result};

use super::elementwise::row_pieces;
use super::lanes::dispatch;
use crate::access::Access;
use crate::float::Float;
use crate::number::with;
use crate::reference::fail_at;

pub(super) fn run(op: &Gather, access: &Access) -> Result<()> {
    let (vocab, d) = op.table.shape().rows_cols();
    let ids = access.indices(&op.ids)?;
    fail_at(op, ids.first_outside(vocab))?;
    with!(op.table.dtype(), common T => {
        let table = access.input::<T>(&op.table)?;
        let row = |row: usize| &table[ids.at(row) as usize * d..][..d];
        if op.out.dtype() == op.table.dtype() {
            row_pieces(access.output::<T>(&op.out)?, d, |first, out| {
                out.chunks_exact_mut(d).enumerate().for_each(|(i, out)| out.copy_from_slice(row(first + i)));
            });
            return Ok(());
        }
        debug_assert_eq!(op.out.dtype(), DType::F32);
        row_pieces(access.output::<f32>(&op.out)?, d, |first, out| {
            dispatch(#[inline(always)] || {
                for (i, out) in out.chunks_exact_mut(d).enumerate() {
                    out.iter_mut().zip(row(first + i)).for_each(|(out, x)| *out = x.widen());
                }
            });
        });
        Ok(())
    })
}
