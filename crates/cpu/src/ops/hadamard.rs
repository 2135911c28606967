use gristmill_core::Result;
use gristmill_core::ops::Hadamard;

use super::elementwise::row_pieces;
use super::lanes::dispatch;
use crate::access::Access;
use crate::float::Float;
use crate::number::with;

pub(super) fn run(op: &Hadamard, access: &Access) -> Result<()> {
    let (block, factor) = (op.block, op.factor());
    with!(op.x.dtype(), common T => {
        let x = access.input::<T>(&op.x)?;
        // Blocks lie one behind the other, whatever the rows are.
        row_pieces(access.output::<T>(&op.out)?, block, |first, out| {
            let x = &x[first * block..][..out.len()];
            dispatch(#[inline(always)] || {
                let mut scratch = [0.0f32; Hadamard::BLOCK];
                let sums = &mut scratch[..block];
                for (x, out) in x.chunks_exact(block).zip(out.chunks_exact_mut(block)) {
                    sums.iter_mut().zip(x).for_each(|(sum, x)| *sum = x.widen());
                    transform(sums);
                    out.iter_mut().zip(&*sums).for_each(|(out, sum)| *out = T::narrow(sum * factor));
                }
            });
        });
        Ok(())
    })
}

/// Sums and differences of halves of halves.
#[inline(always)]
fn transform(x: &mut [f32]) {
    let mut half = 1;
    // Within eight numbers, by position.
    while half < x.len().min(8) {
        for pair in x.chunks_exact_mut(2 * half) {
            for i in 0..half {
                (pair[i], pair[i + half]) = (pair[i] + pair[i + half], pair[i] - pair[i + half]);
            }
        }
        half *= 2;
    }
    while half < x.len() {
        for pair in x.chunks_exact_mut(2 * half) {
            let (a, b) = pair.split_at_mut(half);
            for (a, b) in a.chunks_exact_mut(8).zip(b.chunks_exact_mut(8)) {
                for (a, b) in a.iter_mut().zip(b) {
                    (*a, *b) = (*a + *b, *a - *b);
                }
            }
        }
        half *= 2;
    }
}
