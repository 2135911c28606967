use gristmill_core::Result;
use gristmill_core::ops::ColumnNorms;

use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &ColumnNorms, access: &Access) -> Result<()> {
    let (rows, columns) = op.x.shape().rows_cols();
    with!(op.x.dtype(), common T => {
        let x = access.input::<T>(&op.x)?;
        for (j, out) in access.output::<f32>(&op.out)?.iter_mut().enumerate() {
            let squares = (0..rows).map(|i| x[i * columns + j].as_f64().powi(2));
            *out = squares.sum::<f64>().sqrt() as f32;
        }
        Ok(())
    })
}
