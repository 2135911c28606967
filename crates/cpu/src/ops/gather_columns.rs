use gristmill_core::Result;
use gristmill_core::ops::GatherColumns;

use super::elementwise::row_pieces;
use crate::access::Access;
use crate::number::with;
use crate::reference::fail_at;

pub(super) fn run(op: &GatherColumns, access: &Access) -> Result<()> {
    let (rows, columns) = op.x.shape().rows_cols();
    let index = access.indices(&op.index)?;
    if rows > 0 {
        fail_at(op, index.first_out_of_order(columns))?;
    }
    let places = index.places();
    with!(op.x.dtype(), common T => {
        let x = access.input::<T>(&op.x)?;
        row_pieces(access.output::<T>(&op.out)?, places.len(), |first, out| {
            for (i, out) in out.chunks_exact_mut(places.len()).enumerate() {
                let x = &x[(first + i) * columns..][..columns];
                out.iter_mut().zip(&places).for_each(|(out, &place)| *out = x[place]);
            }
        });
        Ok(())
    })
}
