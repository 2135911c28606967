use gristmill_core::Result;
use gristmill_core::ops::RowNormScale;
use rayon::prelude::*;

use super::lanes::{dispatch, sum};
use super::{PARALLEL, segments};
use crate::access::Access;
use crate::float::Float;
use crate::number::with;

/// Rows of a group, which one task reads once: norm, factor and sum while the row is in the cache.
const GROUP: usize = 16;

/// Values up to which a row stays in the cache between two looks.
const CACHED: usize = 1 << 16;

/// Columns whose sums stay in the cache.
const BLOCK: usize = 1 << 11;

pub(super) fn run(op: &RowNormScale, access: &Access) -> Result<()> {
    let (rows, columns) = op.x.shape().rows_cols();
    let norms = access.output::<f32>(&op.norms)?;
    let factors = access.output::<f32>(&op.factors)?;
    let out = access.output::<f32>(&op.out)?;
    with!(op.x.dtype(), common T => {
        let x = access.input::<T>(&op.x)?;
        // Which way to go depends on the sizes alone, and so do the bits.
        if columns <= CACHED && rows >= 2 * GROUP {
            by_groups(x, columns, op.max_norm, norms, factors, out);
        } else {
            by_columns(x, columns, op.max_norm, norms, factors, out);
        }
        Ok(())
    })
}

/// Norm and factor of a row.
#[inline(always)]
fn norm_and_factor<T: Float>(row: &[T], max_norm: f32) -> (f32, f32) {
    let exact = sum(row, |x| x * x).sqrt();
    let norm = exact as f32;
    let factor = match norm {
        _ if !norm.is_finite() => 0.0,
        _ if exact == 0.0 => 1.0,
        _ => (f64::from(max_norm) / exact).min(1.0) as f32,
    };
    (norm, factor)
}

/// Adds `factor · x[j]` to every sum; a factor of 0 adds nothing, whatever `x` is.
#[inline(always)]
fn add<T: Float>(sums: &mut [f32], factor: f32, x: &[T]) {
    if factor != 0.0 {
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum += factor * x.widen();
        }
    }
}

/// Groups of rows, each with sums of its own that are added up at the end.
fn by_groups<T: Float>(
    x: &[T],
    columns: usize,
    max_norm: f32,
    norms: &mut [f32],
    factors: &mut [f32],
    out: &mut [f32],
) {
    // At most 64 groups, so that their sums take little beside the rows.
    let rows = norms.len().div_ceil(64).max(GROUP);
    let group = |x: &[T], norms: &mut [f32], factors: &mut [f32]| {
        let mut sums = vec![0.0f32; columns];
        dispatch(
            #[inline(always)]
            || {
                for (r, (norm, factor)) in norms.iter_mut().zip(factors).enumerate() {
                    let row = &x[r * columns..][..columns];
                    (*norm, *factor) = norm_and_factor(row, max_norm);
                    add(&mut sums, *factor, row);
                }
            },
        );
        sums
    };
    let groups = norms.par_chunks_mut(rows).zip(factors.par_chunks_mut(rows)).enumerate();
    let sums: Vec<_> = groups
        .with_min_len(PARALLEL.div_ceil(rows * columns + 1))
        .map(|(i, (norms, factors))| group(&x[i * rows * columns..], norms, factors))
        .collect();
    for (j, out) in out.iter_mut().enumerate() {
        *out = sums.iter().map(|sums| f64::from(sums[j])).sum::<f64>() as f32;
    }
}

/// First all norms, then the sums, some columns at a time.
fn by_columns<T: Float>(
    x: &[T],
    columns: usize,
    max_norm: f32,
    norms: &mut [f32],
    factors: &mut [f32],
    out: &mut [f32],
) {
    let mut both = vec![(0.0, 0.0); norms.len()];
    segments(x.len(), &mut both, |first, both| {
        dispatch(
            #[inline(always)]
            || {
                for (i, both) in both.iter_mut().enumerate() {
                    *both = norm_and_factor(&x[(first + i) * columns..][..columns], max_norm);
                }
            },
        );
    });
    for ((norm, factor), both) in norms.iter_mut().zip(factors.iter_mut()).zip(both) {
        (*norm, *factor) = both;
    }
    let factors = &*factors;
    let block = |(i, out): (usize, &mut [f32])| {
        dispatch(
            #[inline(always)]
            || {
                out.fill(0.0);
                for (r, &factor) in factors.iter().enumerate() {
                    add(out, factor, &x[r * columns + i * BLOCK..][..out.len()]);
                }
            },
        );
    };
    match x.len() < PARALLEL {
        true => out.chunks_mut(BLOCK).enumerate().for_each(block),
        false => out.par_chunks_mut(BLOCK).enumerate().for_each(block),
    }
}
