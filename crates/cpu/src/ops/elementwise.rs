//! What elementwise operations share: pieces of the output, one to a task.

use rayon::prelude::*;

use super::lanes::dispatch;
use super::{PARALLEL, TASK};

/// Calls `work` with pieces of the output and where they begin.
pub(super) fn pieces<T: Send>(out: &mut [T], work: impl Fn(usize, &mut [T]) + Sync) {
    if out.len() < PARALLEL {
        return work(0, out);
    }
    out.par_chunks_mut(TASK).enumerate().for_each(|(task, piece)| work(task * TASK, piece));
}

/// `out[i] = f(x[i])`.
pub(super) fn map<X: Copy + Sync, Y: Send>(x: &[X], out: &mut [Y], f: impl Fn(X) -> Y + Sync) {
    update(x, out, |x, _| f(x));
}

/// `y[i] = f(x[i], y[i])`.
pub(super) fn update<X: Copy + Sync, Y: Send>(x: &[X], y: &mut [Y], f: impl Fn(X, &Y) -> Y + Sync) {
    pieces(y, |start, y| {
        let x = &x[start..];
        dispatch(
            #[inline(always)]
            || {
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = f(x, y);
                }
            },
        );
    });
}
