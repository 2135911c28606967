use std::ops::Range;

use gemm::Parallelism;
use gristmill_core::ops::LinearNll;
use gristmill_core::{DType, Result};
#[cfg(target_arch = "x86_64")]
use half::bf16;
use rayon::prelude::*;

use super::lanes::dispatch;
use super::matmul::{Matrix, multiply};
#[cfg(target_arch = "x86_64")]
use super::product::{Lanes, Product, Scratch, WIDTH};
use super::softmax::{Partial, Transform};
use crate::access::{Access, Indices};
use crate::float::{Float, widened};
use crate::number::with;
use crate::reference::fail_at;

/// Rows of a tile: the head is read once for so many rows.
const ROWS: usize = 256;

/// Columns of a tile: whole panels of the kernel and, with the rows, half a mebibyte of logits, which the second-level
/// cache holds.
const COLUMNS: usize = 528;

/// Columns that a task goes through, a tile at a time.
const TASK: usize = 8 * COLUMNS;

pub(super) fn run(op: &LinearNll, access: &Access) -> Result<()> {
    let targets = access.indices(&op.targets)?;
    fail_at(op, targets.first_outside(op.vocab))?;
    let bias = op.bias.as_ref().map(|bias| access.input::<f32>(bias)).transpose()?;
    let transform = Transform { bias, softcap: op.softcap };
    let out = access.output::<f32>(&op.out)?;
    let (_, d) = op.hidden.shape().rows_cols();
    with!(op.hidden.dtype(), common T => {
        let (hidden, head) = (access.input::<T>(&op.hidden)?, access.input::<T>(&op.head)?);
        losses(&Problem { hidden, head, d, vocab: op.vocab, targets, transform }, out);
        Ok(())
    })
}

/// The operands of the operation.
struct Problem<'a, T> {
    hidden: &'a [T],
    head: &'a [T],
    d: usize,
    vocab: usize,
    targets: Indices<'a>,
    transform: Transform<'a>,
}

/// What a task leaves of a row: the pair of its columns, and the target's logit if it is among them.
#[derive(Clone, Copy)]
struct Outcome {
    partial: Partial,
    target: Option<f32>,
}

impl Outcome {
    fn merge(self, other: Self) -> Self {
        Self { partial: self.partial.merge(other.partial), target: self.target.or(other.target) }
    }

    fn loss(self) -> f32 {
        self.target.map_or(f32::NAN, |logit| self.partial.loss(logit))
    }
}

/// Tasks share out rows and columns; what they leave of a row is merged in the order of its columns.
fn losses<T: Float>(problem: &Problem<T>, out: &mut [f32]) {
    let per_row = problem.vocab.div_ceil(TASK);
    let tasks = out.len().div_ceil(ROWS) * per_row;
    let outcomes: Vec<Vec<Outcome>> = (0..tasks)
        .into_par_iter()
        .map(|task| {
            let rows = task / per_row * ROWS..out.len().min((task / per_row + 1) * ROWS);
            let columns = task % per_row * TASK..problem.vocab.min((task % per_row + 1) * TASK);
            problem.outcomes(rows, columns)
        })
        .collect();
    for (out, of_block) in out.chunks_mut(ROWS).zip(outcomes.chunks(per_row)) {
        for (row, out) in out.iter_mut().enumerate() {
            let outcome = of_block.iter().map(|of_rows| of_rows[row]).reduce(Outcome::merge);
            *out = outcome.map_or(f32::NAN, Outcome::loss);
        }
    }
}

impl<T: Float> Problem<'_, T> {
    /// What these columns give for each of these rows.
    fn outcomes(&self, rows: Range<usize>, columns: Range<usize>) -> Vec<Outcome> {
        let (m, d) = (rows.len(), self.d);
        let mut outcomes = vec![Outcome { partial: Partial::EMPTY, target: None }; m];
        #[cfg(target_arch = "x86_64")]
        if self.by_panels(rows.clone(), columns.clone(), &mut outcomes) {
            return outcomes;
        }
        let wide = |n: usize| vec![0.0; if T::DTYPE == DType::F32 { 0 } else { n * d }];
        let (mut wide_hidden, mut wide_head) = (wide(m), wide(COLUMNS));
        let hidden = wider(&self.hidden[rows.start * d..rows.end * d], &mut wide_hidden);
        let mut logits = vec![0.0; m * COLUMNS];
        for first in columns.clone().step_by(COLUMNS) {
            let n = COLUMNS.min(columns.end - first);
            let logits = &mut logits[..m * n];
            let head = wider(&self.head[first * d..][..n * d], &mut wide_head);
            let (hidden, head) = (Matrix::new(hidden, [m, d], false), Matrix::new(head, [d, n], true));
            multiply([m, n, d], hidden, head, [1.0, 0.0], logits, Parallelism::None);
            self.take(rows.start, first..first + n, logits, &mut outcomes);
        }
        outcomes
    }

    /// The same by the kernel for these factors; false where there is none.
    #[cfg(target_arch = "x86_64")]
    fn by_panels(&self, rows: Range<usize>, columns: Range<usize>, outcomes: &mut [Outcome]) -> bool {
        match T::DTYPE {
            DType::F32 => self.by_panels_of::<f32>(rows, columns, outcomes),
            DType::Bf16 => self.by_panels_of::<bf16>(rows, columns, outcomes),
            _ => false,
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn by_panels_of<L: Lanes>(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        outcomes: &mut [Outcome],
    ) -> bool {
        let d = self.d;
        let Some(product) = Product::<L>::of_depth(d).filter(|_| d > 0) else { return false };
        let hidden: &[L] = bytemuck::cast_slice(&self.hidden[rows.start * d..rows.end * d]);
        let head: &[L] = bytemuck::cast_slice(&self.head[..self.vocab * d]);
        let head = Matrix::new(head, [d, self.vocab], true);
        let mut scratch = Scratch::new::<L>(d);
        let mut logits = vec![0.0; rows.len() * COLUMNS];
        for first in columns.clone().step_by(COLUMNS) {
            let tile = first..columns.end.min(first + COLUMNS);
            let n = tile.len();
            for from in tile.clone().step_by(WIDTH) {
                let columns = from..tile.end.min(from + WIDTH);
                let (at, width) = (from - first, columns.len());
                product.panel(hidden, head, columns, d, &mut scratch, |row, sums| {
                    let logits = logits[row * n..].chunks_exact_mut(n);
                    for (logits, sums) in logits.zip(sums.chunks_exact(WIDTH)) {
                        logits[at..][..width].copy_from_slice(&sums[..width]);
                    }
                });
            }
            self.take(rows.start, tile, &logits[..rows.len() * n], outcomes);
        }
        true
    }

    /// Takes a tile of logits into account, whose rows begin at `row`.
    fn take(&self, row: usize, columns: Range<usize>, logits: &[f32], outcomes: &mut [Outcome]) {
        let tile = logits.chunks_exact(columns.len());
        for (i, (logits, outcome)) in tile.zip(outcomes).enumerate() {
            outcome.partial = outcome.partial.merge(self.transform.partial(columns.start, logits));
            let target = self.targets.at(row + i) as usize;
            if columns.contains(&target) {
                outcome.target = Some(self.transform.one(target, logits[target - columns.start]));
            }
        }
    }
}

fn wider<'a, T: Float>(values: &'a [T], scratch: &'a mut [f32]) -> &'a [f32] {
    dispatch(
        #[inline(always)]
        || widened(values, scratch),
    )
}
