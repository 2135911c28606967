use gristmill_core::Result;
use gristmill_core::ops::Rope;

use super::elementwise::row_pieces;
use super::lanes::dispatch;
use crate::access::Access;
use crate::float::Float;
use crate::number::with;
use crate::reference::fail_at;

pub(super) fn run(op: &Rope, access: &Access) -> Result<()> {
    let (_, columns) = op.x.shape().rows_cols();
    let (rows, pairs) = op.cos.shape().rows_cols();
    let positions = access.indices(&op.positions)?;
    fail_at(op, positions.first_outside(rows))?;
    let (cos, sin) = (access.input::<f32>(&op.cos)?, access.input::<f32>(&op.sin)?);
    with!(op.x.dtype(), common T => {
        row_pieces(access.output::<T>(&op.x)?, columns, |first, x| {
            dispatch(#[inline(always)] || {
                for (i, row) in x.chunks_exact_mut(columns).enumerate() {
                    let at = positions.at(first + i) as usize * pairs;
                    let (cos, sin) = (&cos[at..][..pairs], &sin[at..][..pairs]);
                    for head in row.chunks_exact_mut(op.head_dim) {
                        match op.interleaved {
                            true => turn_neighbours(&mut head[..2 * pairs], cos, sin),
                            false => turn_halves(&mut head[..2 * pairs], cos, sin),
                        }
                    }
                }
            });
        });
        Ok(())
    })
}

/// The pair `(a, b)`, turned.
#[inline(always)]
fn turned<T: Float>(a: T, b: T, cos: f32, sin: f32) -> (T, T) {
    let (a, b) = (a.widen(), b.widen());
    (T::narrow(a * cos - b * sin), T::narrow(b * cos + a * sin))
}

#[inline(always)]
fn turn_halves<T: Float>(x: &mut [T], cos: &[f32], sin: &[f32]) {
    let (first, second) = x.split_at_mut(cos.len());
    for (((a, b), &cos), &sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        (*a, *b) = turned(*a, *b, cos, sin);
    }
}

#[inline(always)]
fn turn_neighbours<T: Float>(x: &mut [T], cos: &[f32], sin: &[f32]) {
    for ((pair, &cos), &sin) in x.chunks_exact_mut(2).zip(cos).zip(sin) {
        (pair[0], pair[1]) = turned(pair[0], pair[1], cos, sin);
    }
}
