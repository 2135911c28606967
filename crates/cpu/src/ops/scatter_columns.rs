use gristmill_core::Result;
use gristmill_core::ops::ScatterColumns;
use rayon::prelude::*;

use super::{PARALLEL, TASK};
use crate::access::Access;
use crate::float::Float;
use crate::number::with;
use crate::reference::fail_at;

pub(super) fn run(op: &ScatterColumns, access: &Access) -> Result<()> {
    let (rows, columns) = op.out.shape().rows_cols();
    let index = access.indices(&op.index)?;
    if rows > 0 {
        fail_at(op, index.first_out_of_order(columns))?;
    }
    let places = index.places();
    with!(op.out.dtype(), common T => {
        let (y, out) = (access.input::<T>(&op.y)?, access.output::<T>(&op.out)?);
        if y.is_empty() {
            return Ok(());
        }
        let work = |(y, out): (&[T], &mut [T])| {
            for (y, out) in y.chunks_exact(places.len()).zip(out.chunks_exact_mut(columns)) {
                for (y, &place) in y.iter().zip(&places) {
                    out[place] = T::narrow(out[place].widen() + y.widen());
                }
            }
        };
        if y.len() < PARALLEL {
            work((y, out));
        } else {
            let rows = TASK.div_ceil(places.len());
            y.par_chunks(rows * places.len()).zip(out.par_chunks_mut(rows * columns)).for_each(work);
        }
        Ok(())
    })
}
