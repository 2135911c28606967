use gristmill_core::Result;
use gristmill_core::ops::GridSum;
use rayon::prelude::*;

use super::PARALLEL;
use super::lanes::dispatch;
use crate::access::Access;
use crate::reference::fail_at;

/// Columns whose sums stay in the first cache.
const BLOCK: usize = 1024;

pub(super) fn run(op: &GridSum, access: &Access) -> Result<()> {
    let (_, n) = op.rows.shape().rows_cols();
    let rows = access.input::<f32>(&op.rows)?;
    let factors = access.input::<f32>(&op.factors)?;
    let sums = access.output::<u32>(&op.sums)?;
    let block = |(i, sums): (usize, &mut [u32])| {
        let row = |s: usize| &rows[s * n + i * BLOCK..][..sums.len() / 2];
        let mut totals = [0i64; BLOCK];
        let used = factors.iter().enumerate().filter(|(_, factor)| **factor != 0.0);
        for (s, &factor) in used {
            let beyond = dispatch(
                #[inline(always)]
                || add(&mut totals, factor, row(s), op.reciprocal()),
            );
            if beyond {
                return Some(s as u64);
            }
        }
        for (sum, total) in sums.chunks_exact_mut(2).zip(totals) {
            let before = u64::from(sum[1]) << 32 | u64::from(sum[0]);
            let after = before.wrapping_add_signed(total);
            sum.copy_from_slice(&[after as u32, (after >> 32) as u32]);
        }
        None
    };
    let wrong = match rows.len() < PARALLEL {
        true => sums.chunks_mut(2 * BLOCK).enumerate().filter_map(block).min(),
        false => sums.par_chunks_mut(2 * BLOCK).enumerate().filter_map(block).min(),
    };
    fail_at(op, wrong)
}

/// Adds a row to the totals, and says whether a number of it lies beyond the grid.
#[inline(always)]
fn add(totals: &mut [i64], factor: f32, row: &[f32], reciprocal: f32) -> bool {
    let mut beyond = false;
    for (total, &x) in totals.iter_mut().zip(row) {
        let steps = (factor * x * reciprocal).round_ties_even();
        // Not also less: a NaN is not.
        let inside = steps.abs() < 2f32.powi(31);
        beyond |= !inside;
        *total = total.wrapping_add(i64::from(if inside { steps as i32 } else { 0 }));
    }
    beyond
}
