//! Maximum and sum of exponentials of long rows, read once.
//!
//! A row is cut into blocks that fit the first-level cache. The first values of a block suggest its maximum; one look
//! gives the sum of exponentials of distances to that, and the true maximum. Only where that is much greater is there a
//! second look, which does not go to memory. The pairs of the blocks are merged in their order, so the result does not
//! depend on who computed which.

use super::exp::{add_exp, shift_error, tanh};
use super::lanes;
use crate::float::{Float, widened};

/// Values of a block: 16 KiB of `f32`, half of the smallest first-level caches.
pub(super) const BLOCK: usize = 4096;

/// Lanes of a block: enough for a loop over them to become one over vectors.
const LANES: usize = 128;

/// How much greater than a guess the maximum may be: sums of exponentials stay far from overflow.
const ABOVE: f32 = 16.0;

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
    pub(super) fn of<const FUSED: bool>(values: &[f32]) -> Self {
        let greatest = |values: &[f32]| lanes::max::<_, _, LANES>(values, f32::NEG_INFINITY, |x| x);
        // One look is enough where the first values tell roughly how great the greatest is.
        let guess = greatest(&values[..LANES.min(values.len())]);
        if guess.is_finite() {
            let partial = Self::from::<FUSED>(values, guess);
            if partial.max - guess < ABOVE {
                return partial;
            }
        }
        let max = greatest(values);
        if max.is_infinite() {
            // There is no distance to an infinity.
            let sum = if max > 0.0 { f64::NAN } else { 0.0 };
            return Self { max, sum, nan: values.iter().any(|x| x.is_nan()) };
        }
        Self::from::<FUSED>(values, max)
    }

    /// Of these values, with exponentials of distances to `origin`, which no value must exceed by more than [`ABOVE`].
    #[inline(always)]
    fn from<const FUSED: bool>(values: &[f32], origin: f32) -> Self {
        let shift = origin * std::f32::consts::LOG2_E;
        let (mut sums, mut maxima) = ([0.0f32; LANES], [f32::NEG_INFINITY; LANES]);
        let mut add = |strip: &[f32]| {
            for ((sum, max), &x) in sums.iter_mut().zip(&mut maxima).zip(strip) {
                *max = if x > *max { x } else { *max };
                *sum = add_exp::<FUSED>(*sum, x, origin, shift);
            }
        };
        let mut strips = values.chunks_exact(LANES);
        (&mut strips).for_each(&mut add);
        add(strips.remainder());
        let max = lanes::max::<_, _, 16>(&maxima, f32::NEG_INFINITY, |x| x);
        let to_max = (f64::from(origin) - f64::from(max)) * std::f64::consts::LOG2_E;
        let sum = lanes::sum(&sums, |x| x) * (shift_error::<FUSED>(origin, shift) + to_max).exp2();
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
    pub(super) fn partial<T: Float>(self, first: usize, logits: &[T]) -> Partial {
        lanes::dispatch_fused(Block { transform: self, first, logits })
    }
}

/// Some columns of a row.
struct Block<'a, T> {
    transform: Transform<'a>,
    first: usize,
    logits: &'a [T],
}

impl<T: Float> lanes::Work for Block<'_, T> {
    type Output = Partial;

    #[inline(always)]
    fn run<const FUSED: bool>(self) -> Partial {
        let Self { transform, first, logits } = self;
        let mut scratch = [0.0; BLOCK];
        if transform.is_plain() {
            return Partial::of::<FUSED>(widened(logits, &mut scratch));
        }
        let scratch = &mut scratch[..logits.len()];
        for (wide, z) in scratch.iter_mut().zip(logits) {
            *wide = z.widen();
        }
        transform.apply(first, scratch);
        Partial::of::<FUSED>(scratch)
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
    let block = |first: usize, values: &[T]| transform.partial(first, values);
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
