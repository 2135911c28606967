use gristmill_core::Result;
use gristmill_core::ops::ScatterColumns;

use super::fail_at;
use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &ScatterColumns, access: &Access) -> Result<()> {
    let (rows, columns) = op.out.shape().rows_cols();
    let index = access.indices(&op.index)?;
    if rows > 0 {
        fail_at(op, index.first_out_of_order(columns))?;
    }
    with!(op.out.dtype(), common T => {
        let out = access.output::<T>(&op.out)?;
        for (i, y) in access.input::<T>(&op.y)?.iter().enumerate() {
            let out = &mut out[i / index.len() * columns + index.at(i % index.len()) as usize];
            // The sum is exact in f64, or so close to it that it rounds as if it were.
            *out = T::nearest(out.as_f64() + y.as_f64());
        }
        Ok(())
    })
}
