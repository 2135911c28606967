use gristmill_core::Result;
use gristmill_core::ops::ClippedSum;
use rayon::prelude::*;

use super::PARALLEL;
use super::lanes::dispatch;
use crate::access::Access;

/// Columns whose sums stay in the first cache.
const BLOCK: usize = 1024;

pub(super) fn run(op: &ClippedSum, access: &Access) -> Result<()> {
    let (_, n) = op.rows.shape().rows_cols();
    let rows = access.input::<f32>(&op.rows)?;
    let factors = access.input::<f32>(&op.factors)?;
    let out = access.output::<f32>(&op.out)?;
    let block = |(i, out): (usize, &mut [f32])| {
        dispatch(
            #[inline(always)]
            || {
                let mut sums = [0.0f64; BLOCK];
                for (s, &factor) in factors.iter().enumerate().filter(|(_, factor)| **factor != 0.0) {
                    let row = &rows[s * n + i * BLOCK..][..out.len()];
                    for (sum, &x) in sums.iter_mut().zip(row) {
                        *sum += f64::from(factor) * f64::from(x);
                    }
                }
                for (out, sum) in out.iter_mut().zip(sums) {
                    *out = (f64::from(*out) + sum) as f32;
                }
            },
        );
    };
    match rows.len() < PARALLEL {
        true => out.chunks_mut(BLOCK).enumerate().for_each(block),
        false => out.par_chunks_mut(BLOCK).enumerate().for_each(block),
    }
    Ok(())
}
