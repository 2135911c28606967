//! Maximum and sum of exponentials of long rows, read once.
//!
//! A row is cut into blocks that fit the first-level cache. A block is looked at twice, once for its maximum and once
//! for the sum of exponentials below that; only the first look goes to memory. The pairs of the blocks are merged in
//! their order, so the result does not depend on who computed which.

use super::exp::{exp, tanh};
use super::lanes;
use crate::float::{Float, widened};

/// Values of a block: 16 KiB of `f32`, half of the smallest first-level caches.
pub(super) const BLOCK: usize = 4096;

/// Exponentials that are computed before they are added up.
const STRIP: usize = 256;

/// The greatest of some values, and the sum of the exponentials of their distances to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Partial {
    pub(super) max: f32,
    pub(super) sum: f64,
    /// Whether a value is NaN.
    nan: bool,
}

impl Partial {
    /// Of no values.
    pub(super) const EMPTY: Partial = Partial { max: f32::NEG_INFINITY, sum: 0.0, nan: false };

    /// Of these values.
    #[inline(always)]
    pub(super) fn of(values: &[f32]) -> Self {
        let max = lanes::max::<_, _, 32>(values, f32::NEG_INFINITY, |x| x);
        if max.is_infinite() {
            // There is no distance to an infinity.
            let sum = if max > 0.0 { f64::NAN } else { 0.0 };
            return Self { max, sum, nan: values.iter().any(|x| x.is_nan()) };
        }
        let mut lanes = [0.0f32; 32];
        for strip in values.chunks(STRIP) {
            let mut exps = [0.0f32; STRIP];
            for (e, x) in exps.iter_mut().zip(strip) {
                *e = exp(x - max);
            }
            for chunk in exps.chunks_exact(32) {
                for (lane, e) in lanes.iter_mut().zip(chunk) {
                    *lane += e;
                }
            }
        }
        let sum = lanes::sum(&lanes, |x| x);
        Self { max, sum, nan: sum.is_nan() }
    }

    /// Of the values of both.
    pub(super) fn merge(self, other: Self) -> Self {
        let max = if other.max > self.max { other.max } else { self.max };
        let below = |p: Self| match p.max == max {
            true => p.sum,
            false => p.sum * (f64::from(p.max) - f64::from(max)).exp(),
        };
        Self { max, sum: below(self) + below(other), nan: self.nan || other.nan }
    }

    /// The maximum; NaN if a value is.
    pub(super) fn maximum(self) -> f32 {
        if self.nan { f32::NAN } else { self.max }
    }

    /// The logarithm of the sum of the exponentials of the values.
    pub(super) fn log_sum_exp(self) -> f64 {
        f64::from(self.maximum()) + self.log_sum()
    }

    /// The loss of a target with this logit: first the difference, which is exact where they are close.
    pub(super) fn loss(self, logit: f32) -> f32 {
        ((f64::from(self.maximum()) - f64::from(logit)) + self.log_sum()) as f32
    }

    /// The logarithm of the sum; 0 where there is nothing to add up.
    fn log_sum(self) -> f64 {
        if self.max == f32::NEG_INFINITY { 0.0 } else { self.sum.ln() }
    }
}

/// What becomes of logits before they count.
#[derive(Clone, Copy)]
pub(super) struct Transform<'a> {
    pub(super) bias: Option<&'a [f32]>,
    pub(super) softcap: Option<f32>,
}

impl Transform<'_> {
    /// Whether logits stay as they are.
    pub(super) fn is_plain(self) -> bool {
        self.bias.is_none() && self.softcap.is_none()
    }

    /// Changes the logits of columns `first..` in place.
    #[inline(always)]
    pub(super) fn apply(self, first: usize, logits: &mut [f32]) {
        if let Some(bias) = self.bias {
            for (z, b) in logits.iter_mut().zip(&bias[first..]) {
                *z += b;
            }
        }
        if let Some(cap) = self.softcap {
            for z in logits.iter_mut() {
                *z = cap * tanh(*z / cap);
            }
        }
    }

    /// The logit of one column.
    #[inline(always)]
    pub(super) fn one(self, column: usize, logit: f32) -> f32 {
        let mut z = [logit];
        self.apply(column, &mut z);
        z[0]
    }

    /// The pair of the columns `first..` of a row, at most a block of them.
    #[inline(always)]
    pub(super) fn partial<T: Float>(self, first: usize, logits: &[T]) -> Partial {
        let mut scratch = [0.0; BLOCK];
        if self.is_plain() {
            return Partial::of(widened(logits, &mut scratch));
        }
        let scratch = &mut scratch[..logits.len()];
        for (wide, z) in scratch.iter_mut().zip(logits) {
            *wide = z.widen();
        }
        self.apply(first, scratch);
        Partial::of(scratch)
    }
}

/// The pair of every row: `value(row, partial)` gives what is written for it. Rows are shared out among threads, and
/// so are the blocks of a row where there are fewer rows than threads.
pub(super) fn rows<T: Float, R: Send>(
    x: &[T],
    [columns, stride]: [usize; 2],
    transform: Transform,
    out: &mut [R],
    value: impl Fn(usize, Partial) -> R + Sync,
) {
    use rayon::prelude::*;
    let row = |r: usize| &x[r * stride..][..columns];
    let block = |first: usize, values: &[T]| {
        lanes::dispatch(
            #[inline(always)]
            || transform.partial(first, values),
        )
    };
    let serial = |r: usize| {
        let blocks = row(r).chunks(BLOCK).enumerate();
        blocks.fold(Partial::EMPTY, |p, (i, values)| p.merge(block(i * BLOCK, values)))
    };
    if out.len() * columns < super::PARALLEL {
        out.iter_mut().enumerate().for_each(|(r, out)| *out = value(r, serial(r)));
    } else if out.len() >= 2 * rayon::current_num_threads() {
        let rows_per_task = (super::TASK / columns.max(1)).max(1);
        out.par_chunks_mut(rows_per_task).enumerate().for_each(|(task, out)| {
            for (i, out) in out.iter_mut().enumerate() {
                let r = task * rows_per_task + i;
                *out = value(r, serial(r));
            }
        });
    } else {
        for (r, out) in out.iter_mut().enumerate() {
            let blocks = row(r).par_chunks(BLOCK).enumerate();
            let partials: Vec<_> = blocks.map(|(i, values)| block(i * BLOCK, values)).collect();
            *out = value(r, partials.into_iter().fold(Partial::EMPTY, Partial::merge));
        }
    }
}
