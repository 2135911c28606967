//! Gradients of a linear layer by sample: `dYᵀX` over the rows of one, or over those of many, each row scaled.
//!
//! Rows are laid out anew, as [`f32`]: those of `dY` in strips of [`ROWS`] outputs, scaled if they are to be, and those of
//! `X` in panels of [`COLUMNS`] inputs. A strip and a panel give a tile of the gradient, whose sums stay in registers while
//! the rows go by. A task has [`STRIPS`] strips and goes over all panels: the panel and the strips stay in the
//! second-level cache. What becomes of a tile differs: it is squared, added to a sum, or kept until the factor of its
//! sample is known.
//!
//! Every element is one sum in the order of the rows, in blocks of [`DEPTH`], whichever task has it.

mod gram;
mod pack;
mod samples;
mod tile;

pub(super) use gram::Gram;
pub(super) use pack::Packed;
pub(super) use samples::Layer;
use tile::ROWS;
pub(super) use tile::{COLUMNS, Dispatched, Tile, fastest};

/// Strips of a task.
const STRIPS: usize = 16;

/// Rows that go by before the next strip does: 96 KiB of a panel.
const DEPTH: usize = 512;

/// Outputs of a task.
pub(super) const OUTPUTS: usize = ROWS * STRIPS;

/// What becomes of tiles.
pub(super) trait Take {
    /// Called before the last rows of a tile are multiplied: time to ask for memory.
    fn ahead(&self, _output: usize, _input: usize) {}

    /// Takes the sums of a tile, `[outputs, COLUMNS]`, of which those outside of the layer are 0.
    fn take(&mut self, output: usize, input: usize, sums: &[f32]);
}

/// Makes the gradient of the packed rows a tile at a time, for [`OUTPUTS`] outputs from `first` on, from which outputs
/// are counted.
pub(super) fn tiles<K: Tile>(packed: &Packed, first: usize, to: &mut impl Take) {
    let strips = first / ROWS..(first / ROWS + STRIPS).min(packed.strips());
    let mut sums = vec![0.0; STRIPS * ROWS * COLUMNS];
    for panel in 0..packed.panels() {
        for from in (0..packed.rows()).step_by(DEPTH) {
            let rows = from..packed.rows().min(from + DEPTH);
            let (x, last) = (packed.panel(panel, rows.clone()), rows.end == packed.rows());
            for (strip, sums) in strips.clone().zip(sums.chunks_exact_mut(ROWS * COLUMNS)) {
                let (output, input) = (strip * ROWS - first, panel * COLUMNS);
                if last {
                    to.ahead(output, input);
                }
                K::multiply(packed.strip(strip, rows.clone()), x, sums, from > 0);
                if last {
                    to.take(output, input, sums);
                }
            }
        }
    }
}

/// The sum of the squares, in `f64`, where those of `f32` are exact.
#[inline(always)]
pub(super) fn squares(sums: &[f32]) -> f64 {
    super::lanes::sum(sums, |x| x * x)
}

/// `sum += factor · x`; a factor of 0 adds nothing, whatever `x` is.
#[inline(always)]
pub(super) fn add_scaled(sum: &mut [f32], factor: f32, x: &[f32]) {
    if factor != 0.0 {
        sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += factor * x);
    }
}

/// Asks for a tile of a matrix of `d` columns that will be needed soon.
pub(super) fn ask(matrix: &[f32], d: usize, output: usize, input: usize) {
    for row in output..output + ROWS {
        super::lanes::prefetch(matrix, row * d + input..(row * d + input + COLUMNS).min((row + 1) * d));
    }
}

#[cfg(test)]
mod tests;
