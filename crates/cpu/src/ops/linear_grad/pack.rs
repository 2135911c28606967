//! Rows of a layer laid out for the products.

use std::ops::Range;

use rayon::prelude::*;

use super::{COLUMNS, ROWS};
use crate::float::Float;
use crate::ops::lanes::dispatch;

/// Outputs that a task lays out, and inputs: long enough pieces of a row for memory to be read ahead.
const STRIPS: usize = 32;
const PANELS: usize = 5;

/// Rows that are taken together.
const TOGETHER: usize = 8;

/// Some rows of a layer, laid out.
#[derive(Default)]
pub(in super::super) struct Packed {
    rows: usize,
    /// Outputs, `[strips, rows, ROWS]`.
    dy: Vec<f32>,
    /// Inputs, `[panels, rows, COLUMNS]`.
    x: Vec<f32>,
    strips: usize,
    panels: usize,
}

impl Packed {
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn strips(&self) -> usize {
        self.strips
    }

    pub(super) fn panels(&self) -> usize {
        self.panels
    }

    /// Some rows of a strip.
    pub(super) fn strip(&self, strip: usize, rows: Range<usize>) -> &[f32] {
        &self.dy[(strip * self.rows + rows.start) * ROWS..][..rows.len() * ROWS]
    }

    /// Some rows of a panel.
    pub(super) fn panel(&self, panel: usize, rows: Range<usize>) -> &[f32] {
        &self.x[(panel * self.rows + rows.start) * COLUMNS..][..rows.len() * COLUMNS]
    }

    /// Takes these rows, with a factor for each, in place of those before.
    pub(in super::super) fn pack<T: Float>(
        &mut self,
        [dy, x]: [&[T]; 2],
        [p, d]: [usize; 2],
        rows: impl ExactSizeIterator<Item = (usize, f32)>,
    ) {
        let rows = &rows.collect::<Vec<_>>()[..];
        self.rows = rows.len();
        (self.strips, self.panels) = (p.div_ceil(ROWS), d.div_ceil(COLUMNS));
        // Also where there are fewer rows than before: what is there is overwritten.
        self.dy.resize(self.strips * rows.len() * ROWS, 0.0);
        self.x.resize(self.panels * rows.len() * COLUMNS, 0.0);
        if rows.is_empty() {
            return;
        }
        let strips =
            self.dy.par_chunks_mut(STRIPS * rows.len() * ROWS).enumerate().map(|(i, to)| (true, i, to));
        let panels =
            self.x.par_chunks_mut(PANELS * rows.len() * COLUMNS).enumerate().map(|(i, to)| (false, i, to));
        strips.chain(panels).with_max_len(1).for_each(|(outputs, i, to)| {
            dispatch(
                #[inline(always)]
                || match outputs {
                    true => lay_out::<T, ROWS, true>(dy, p, i * STRIPS * ROWS, rows, to),
                    false => lay_out::<T, COLUMNS, false>(x, d, i * PANELS * COLUMNS, rows, to),
                },
            );
        });
    }
}

/// Columns from `first` on of these rows, `WIDTH` at a time: `[pieces, rows, WIDTH]`, with zeros behind the last column.
#[inline(always)]
fn lay_out<T: Float, const WIDTH: usize, const SCALED: bool>(
    from: &[T],
    columns: usize,
    first: usize,
    rows: &[(usize, f32)],
    to: &mut [f32],
) {
    let piece = rows.len() * WIDTH;
    for (group, rows) in rows.chunks(TOGETHER).enumerate() {
        for (i, to) in to.chunks_exact_mut(piece).enumerate() {
            let begin = first + i * WIDTH;
            let to = to[group * TOGETHER * WIDTH..].chunks_exact_mut(WIDTH);
            for (&(row, factor), to) in rows.iter().zip(to) {
                let scale = |x: T| if SCALED { factor * x.widen() } else { x.widen() };
                let from = &from[row * columns + begin..][..WIDTH.min(columns - begin)];
                if from.len() == WIDTH {
                    to.iter_mut().zip(from).for_each(|(to, &x)| *to = scale(x));
                } else {
                    to.fill(0.0);
                    to.iter_mut().zip(from).for_each(|(to, &x)| *to = scale(x));
                }
            }
        }
    }
}
