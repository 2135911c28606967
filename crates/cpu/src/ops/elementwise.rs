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

/// Calls `work` with pieces of whole rows of the output, and the number of their first. Nothing happens to rows without
/// columns.
pub(super) fn row_pieces<T: Send>(out: &mut [T], columns: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    if out.is_empty() {
        return;
    }
    if out.len() < PARALLEL {
        return work(0, out);
    }
    let rows = TASK.div_ceil(columns);
    out.par_chunks_mut(rows * columns).enumerate().for_each(|(task, piece)| work(task * rows, piece));
}

/// Calls `work` with pieces of rows of at most `BLOCK` elements: where they begin, at which column, and they.
pub(super) fn column_pieces<T: Send, const BLOCK: usize>(
    out: &mut [T],
    columns: usize,
    work: impl Fn(usize, usize, &mut [T]) + Sync,
) {
    pieces(out, |start, mut rest| {
        let mut at = start;
        while !rest.is_empty() {
            let column = at % columns;
            let piece;
            (piece, rest) = rest.split_at_mut(BLOCK.min(columns - column).min(rest.len()));
            work(at, column, piece);
            at += piece.len();
        }
    });
}
