use gristmill_core::Result;
use gristmill_core::ops::GatherColumns;

use super::fail_at;
use crate::access::Access;
use crate::number::with;

pub(super) fn run(op: &GatherColumns, access: &Access) -> Result<()> {
    let (rows, columns) = op.x.shape().rows_cols();
    let index = access.indices(&op.index)?;
    if rows > 0 {
        fail_at(op, index.first_out_of_order(columns))?;
    }
    with!(op.x.dtype(), common T => {
        let x = access.input::<T>(&op.x)?;
        for (i, out) in access.output::<T>(&op.out)?.iter_mut().enumerate() {
            *out = x[i / index.len() * columns + index.at(i % index.len()) as usize];
        }
        Ok(())
    })
}
