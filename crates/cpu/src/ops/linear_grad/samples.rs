use std::ops::Range;

use rayon::prelude::*;

use crate::access::Indices;
use crate::float::Float;
use crate::ops::PARALLEL;
use crate::ops::lanes::dispatch;

/// Columns whose sums a task holds.
const BLOCK: usize = 256;

/// The operands that the operations share; offsets that ascend.
#[derive(Clone, Copy)]
pub(in super::super) struct Layer<'a, T> {
    pub(in super::super) x: &'a [T],
    pub(in super::super) dy: &'a [T],
    pub(in super::super) offsets: Indices<'a>,
    /// Inputs and outputs of the layer.
    pub(in super::super) d: usize,
    pub(in super::super) p: usize,
}

impl<T: Float> Layer<'_, T> {
    /// How many samples there are.
    pub(in super::super) fn samples(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The rows of a sample.
    pub(in super::super) fn rows(&self, sample: usize) -> Range<usize> {
        self.offsets.at(sample) as usize..self.offsets.at(sample + 1) as usize
    }

    /// The gradient of the bias: `Σ factor · dY` over these rows, `[p]`.
    pub(in super::super) fn bias(&self, rows: impl Iterator<Item = (usize, f32)> + Clone + Sync) -> Vec<f64> {
        let mut sums = vec![0.0; self.p];
        let add = |(block, sums): (usize, &mut [f64])| {
            dispatch(
                #[inline(always)]
                || {
                    for (row, factor) in rows.clone() {
                        let dy = &self.dy[row * self.p + block * BLOCK..][..sums.len()];
                        sums.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += f64::from(factor * dy.widen()));
                    }
                },
            );
        };
        match self.dy.len() < PARALLEL {
            true => sums.chunks_mut(BLOCK).enumerate().for_each(add),
            false => sums.par_chunks_mut(BLOCK).enumerate().for_each(add),
        }
        sums
    }
}
