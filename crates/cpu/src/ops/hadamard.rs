//! Sums and differences in steps, each of which meets the numbers whose positions differ in one bit.
//!
//! Where the bit is a high one, numbers that are far apart meet, and runs of them are vectors. Where it is a low one, they
//! are neighbours, which no vector holds apart. So within a run a step takes neighbours, and puts the sums in the first
//! half and the differences in the second: the lowest bit of a position becomes the highest, and all others go down by one.
//! After as many steps as there are bits, every bit has been the lowest once, and is where it was. A block that is smaller
//! than a run leaves out the sums of the last steps, and is in a run with others.

use gristmill_core::Result;
use gristmill_core::ops::Hadamard;

use super::elementwise::row_pieces;
use super::lanes::dispatch;
use crate::access::Access;
use crate::float::Float;
use crate::number::with;

/// Numbers of a run, and the bits of a position in it.
const RUN: usize = 1 << BITS;
const BITS: usize = 7;

pub(super) fn run(op: &Hadamard, access: &Access) -> Result<()> {
    with!(op.x.dtype(), common T => {
        let x = access.input::<T>(&op.x)?;
        // Blocks lie one behind the other, whatever the rows are.
        row_pieces(access.output::<T>(&op.out)?, op.block, |first, out| {
            let x = &x[first * op.block..][..out.len()];
            dispatch(#[inline(always)] || blocks(op.block, op.factor(), x, out));
        });
        Ok(())
    })
}

/// Whole blocks.
#[inline(always)]
fn blocks<T: Float>(block: usize, factor: f32, x: &[T], out: &mut [T]) {
    let mut scratch = [0.0; Hadamard::BLOCK];
    let together = block.max(RUN);
    let sums = &mut scratch[..together];
    for (x, out) in x.chunks(together).zip(out.chunks_mut(together)) {
        // Behind the last block is what does not meet it.
        sums.iter_mut().zip(x).for_each(|(sum, x)| *sum = x.widen());
        let mut half = block / 2;
        while half >= RUN {
            for pair in sums.chunks_exact_mut(2 * half) {
                let (a, b) = pair.split_at_mut(half);
                for (a, b) in a.iter_mut().zip(b) {
                    (*a, *b) = (*a + *b, *a - *b);
                }
            }
            half /= 2;
        }
        for (sums, out) in sums.as_chunks::<RUN>().0.iter().zip(out.chunks_mut(RUN)) {
            let sums = within(sums, (block.trailing_zeros() as usize).min(BITS));
            out.iter_mut().zip(&sums).for_each(|(out, sum)| *out = T::narrow(sum * factor));
        }
    }
}

/// The steps within a run, of which so many add.
#[inline(always)]
fn within(run: &[f32; RUN], adding: usize) -> [f32; RUN] {
    let (mut from, mut to) = (*run, [0.0; RUN]);
    for step in 0..BITS {
        let (low, high) = to.split_at_mut(RUN / 2);
        let pairs = from.as_chunks::<2>().0.iter().zip(low.iter_mut().zip(high));
        if step < adding {
            pairs.for_each(|(&[a, b], (low, high))| (*low, *high) = (a + b, a - b));
        } else {
            pairs.for_each(|(&[a, b], (low, high))| (*low, *high) = (a, b));
        }
        std::mem::swap(&mut from, &mut to);
    }
    from
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_every_size_meet_themselves_alone() {
        for block in (0..=12).map(|bits| 1 << bits) {
            // Not whole runs, and more than one of the largest blocks.
            let blocks_of_it = if block < RUN { 3 * RUN / block + 1 } else { 3 };
            let n = block * blocks_of_it;
            // Whole numbers, so that sums are exact in any order.
            let x: Vec<f32> = (0..n).map(|i| ((i * i + 7 * i) % 61) as f32 - 30.0).collect();
            let mut out = vec![0.0; n];
            blocks(block, 1.0, &x, &mut out);
            for (at, out) in out.into_iter().enumerate() {
                let (first, i) = (at - at % block, at % block);
                let sign = |j: usize| if (i & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
                let want: f32 = x[first..][..block].iter().enumerate().map(|(j, x)| sign(j) * x).sum();
                assert_eq!(out, want, "{block} {at}");
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_in_its_block() {
        for block in [1, 2, 8, 64, 128, 512] {
            let mut x = vec![1.0; 1024];
            x[515] = f32::NAN;
            let mut out = vec![0.0; x.len()];
            blocks(block, 1.0, &x, &mut out);
            for (at, out) in out.into_iter().enumerate() {
                assert_eq!(out.is_nan(), at / block == 515 / block, "{block} {at}");
            }
        }
    }
}
