use gristmill_core::Result;
use gristmill_core::ops::ColumnNorms;
use rayon::prelude::*;

use super::PARALLEL;
use super::lanes::dispatch;
use crate::access::Access;
use crate::float::Float;
use crate::number::with;

/// Columns whose sums stay in the first cache.
const BLOCK: usize = 512;
/// Rows of a part at the least, and parts at the most: the sums of all are small beside the matrix.
const ROWS: usize = 256;
const PARTS: usize = 16;

pub(super) fn run(op: &ColumnNorms, access: &Access) -> Result<()> {
    let (rows, columns) = op.x.shape().rows_cols();
    let out = access.output::<f32>(&op.out)?;
    if rows * columns == 0 {
        out.fill(0.0);
        return Ok(());
    }
    // By the sizes alone, as the bits go by it.
    let rows_each = rows.div_ceil(PARTS).max(ROWS);
    let mut sums = vec![0.0f64; rows.div_ceil(rows_each) * columns];
    with!(op.x.dtype(), common T => {
        let parts = access.input::<T>(&op.x)?.chunks(rows_each * columns).zip(sums.chunks_mut(columns));
        let blocks: Vec<_> = parts
            .flat_map(|(x, sums)| sums.chunks_mut(BLOCK).enumerate().map(move |(i, sums)| (x, i * BLOCK, sums)))
            .collect();
        let work = |(x, first, sums): (&[T], usize, &mut [f64])| {
            dispatch(#[inline(always)] || add_squares(x, columns, first, sums));
        };
        match rows * columns < PARALLEL {
            true => blocks.into_iter().for_each(work),
            false => blocks.into_par_iter().for_each(work),
        }
        Ok(())
    })?;
    for (j, out) in out.iter_mut().enumerate() {
        *out = sums[j..].iter().step_by(columns).sum::<f64>().sqrt() as f32;
    }
    Ok(())
}

/// Adds the squares of all rows of these columns.
#[inline(always)]
fn add_squares<T: Float>(x: &[T], columns: usize, first: usize, sums: &mut [f64]) {
    for row in x.chunks_exact(columns) {
        for (sum, x) in sums.iter_mut().zip(&row[first..]) {
            let x = f64::from(x.widen());
            *sum += x * x;
        }
    }
}
