use gristmill_core::Result;
use gristmill_core::ops::SegmentProduct;
use rayon::prelude::*;

use super::PARALLEL;
use super::lanes::dispatch;
use crate::access::Access;
use crate::float::Float;
use crate::number::with;
use crate::reference::fail_at;

/// Columns whose sums stay in the first cache.
const BLOCK: usize = 512;

pub(super) fn run(op: &SegmentProduct, access: &Access) -> Result<()> {
    let (rows, n) = op.a.shape().rows_cols();
    let offsets = access.indices(&op.offsets)?;
    fail_at(op, offsets.first_unordered(rows))?;
    with!(op.a.dtype(), common T => {
        let a = access.input::<T>(&op.a)?;
        let b = op.b.as_ref().map(|b| access.input::<T>(b)).transpose()?;
        let work = |(sample, column, out): (usize, usize, &mut [f32])| {
            let rows = offsets.at(sample) as usize..offsets.at(sample + 1) as usize;
            dispatch(#[inline(always)] || sums(a, b, rows, n, column, out));
        };
        let blocks = blocks(access.output::<f32>(&op.out)?, n);
        match a.len() < PARALLEL {
            true => blocks.into_iter().for_each(work),
            false => blocks.into_par_iter().for_each(work),
        }
        Ok(())
    })
}

/// Pieces of the rows of an output, with the row and the first column of each.
fn blocks(out: &mut [f32], n: usize) -> Vec<(usize, usize, &mut [f32])> {
    let rows = out.chunks_mut(n.max(1)).enumerate();
    rows.flat_map(|(row, out)| {
        out.chunks_mut(BLOCK).enumerate().map(move |(i, piece)| (row, i * BLOCK, piece))
    })
    .collect()
}

#[inline(always)]
fn sums<T: Float>(
    a: &[T],
    b: Option<&[T]>,
    rows: std::ops::Range<usize>,
    n: usize,
    column: usize,
    out: &mut [f32],
) {
    let mut sums = [0.0f64; BLOCK];
    let sums = &mut sums[..out.len()];
    for row in rows {
        let at = row * n + column..row * n + column + out.len();
        let a = &a[at.clone()];
        match b {
            Some(b) => {
                for ((sum, a), b) in sums.iter_mut().zip(a).zip(&b[at]) {
                    *sum += f64::from(a.widen()) * f64::from(b.widen());
                }
            }
            None => sums.iter_mut().zip(a).for_each(|(sum, a)| *sum += f64::from(a.widen())),
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = *sum as f32;
    }
}
