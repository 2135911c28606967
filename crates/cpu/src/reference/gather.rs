use gristmill_core::Result;
use gristmill_core::ops::Gather;

use super::fail_at;
use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &Gather, access: &Access) -> Result<()> {
    let (vocab, d) = op.table.shape().rows_cols();
    let ids = access.indices(&op.ids)?;
    fail_at(op, ids.first_outside(vocab))?;
    with!(op.table.dtype(), common T => with!(op.out.dtype(), common O => {
        let table = access.input::<T>(&op.table)?;
        for (i, out) in access.output::<O>(&op.out)?.iter_mut().enumerate() {
            *out = O::nearest(table[ids.at(i / d) as usize * d + i % d].as_f64());
        }
        Ok(())
    }))
}
