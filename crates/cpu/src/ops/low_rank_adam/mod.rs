//! A step in a subspace, a block of rows of the state at a time.
//!
//! A block's part of the gradient is projected, its moments move, and the direction goes back to its part of the weight,
//! all in one task: the gradient is read once, the weight read and written once, and what is between them stays in the
//! cache. Blocks are rows of the weight where the basis is of the right side, and columns of it otherwise. Both products
//! are made a [`tile`] at a time.
//!
//! Every element of a product is one sum in the order of the depth, and blocks of codes belong to one task: the bits
//! depend neither on how many threads there are nor on how the blocks are cut.

mod state;
mod tile;

use std::borrow::Cow;
use std::cell::RefCell;

use gristmill_core::ops::{LowRankAdam, LowRankSizes, Moments, Noise};
use gristmill_core::{DType, Result};
use half::bf16;
use rayon::prelude::*;

use super::PARALLEL;
use super::adamw::Step;
use super::lanes::{dispatch, prefetch};
use super::noise::{Nearest, Random, Rounding, taken};
use crate::access::Access;
use crate::float::Float;
use crate::number::with;
use state::{Piece, State};
use tile::{Dispatched, Factors, Finish, ROWS, Tile, WIDTH, fastest};

/// Rows and columns of the weight that make a block, where there are enough of them.
const BLOCK_ROWS: usize = 64;
const BLOCK_COLUMNS: usize = 192;

/// Numbers of the basis that all rows of a block meet before the next ones, and numbers of the gradient that are laid out
/// anew for it: what half a second-level cache holds.
const BASIS: usize = 1 << 15;
const LAID_OUT: usize = 1 << 16;

pub(super) fn run(op: &LowRankAdam, access: &Access) -> Result<()> {
    let basis = match op.basis.dtype() {
        DType::F32 => Cow::Borrowed(access.input::<f32>(&op.basis)?),
        _ => access.input::<bf16>(&op.basis)?.iter().map(|x| x.widen()).collect(),
    };
    let state = State::new(&op.moments, access)?;
    let sizes = op.sizes();
    with!(op.grad.dtype(), common G => with!(op.weight.dtype(), common W => {
        let (rule, _) = op.rule.direction();
        let panels = if op.right { panels(&basis, sizes.rank) } else { Vec::new() };
        let job = Job {
            sizes,
            right: op.right,
            grad: access.input::<G>(&op.grad)?,
            basis: &basis,
            panels,
            weight: Weight(access.output::<W>(&op.weight)?.as_mut_ptr()),
            inner: Step::new(rule, op.noise),
            noise: taken(op.noise, &[op.weight.dtype()]),
            factors: [-op.rule.step, op.rule.keep],
        };
        fastest(Run { job, state });
        Ok(())
    }))
}

struct Job<'a, G, W> {
    sizes: LowRankSizes,
    right: bool,
    grad: &'a [G],
    basis: &'a [f32],
    /// The basis of the right side, transposed, in panels.
    panels: Vec<f32>,
    weight: Weight<W>,
    /// What moves the moments, and gives the direction.
    inner: Step,
    /// What rounds the weight, if not to the nearest.
    noise: Option<Noise>,
    /// Of the direction in the space of the weight, and of the weight.
    factors: [f32; 2],
}

struct Run<'a, G, W> {
    job: Job<'a, G, W>,
    state: State<'a>,
}

/// Where the weight begins.
struct Weight<W>(*mut W);

// SAFETY: tasks read and write different elements of it, and nobody else does before all tasks have ended.
unsafe impl<W: Send> Sync for Weight<W> {}

/// What a thread works in.
#[derive(Default)]
struct Scratch {
    /// The gradient of a block in the subspace, and the direction: `[rows of the state, rank]`.
    projected: Vec<f32>,
    direction: Vec<f32>,
    /// A part of the gradient, laid out anew.
    grad: Vec<f32>,
    /// The direction of a block of columns, transposed, in panels.
    panels: Vec<f32>,
}

thread_local! {
    /// Kept between steps: a step has a task for a few thousand numbers.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl<G: Float, W: Float> Dispatched for Run<'_, G, W> {
    fn run<K: Tile>(self) {
        let Self { job, mut state } = self;
        let LowRankSizes { kept, depth, rank, .. } = job.sizes;
        let block = job.block(state.coded());
        let pieces = state.pieces(block * rank);
        let work = |(i, mut piece): (usize, Piece)| {
            SCRATCH.with_borrow_mut(|scratch| {
                let first = i * block;
                job.task::<K>(first..kept.min(first + block), &mut piece, scratch);
            });
        };
        if kept * depth < PARALLEL {
            pieces.into_iter().enumerate().for_each(work);
        } else {
            pieces.into_par_iter().enumerate().with_max_len(1).for_each(work);
        }
    }
}

impl<G: Float, W: Float> Job<'_, G, W> {
    /// Rows of the state that make a block: whole tiles, and whole blocks of codes.
    fn block(&self, coded: bool) -> usize {
        let LowRankSizes { kept, rank, .. } = self.sizes;
        let (least, most) = if self.right { (ROWS, BLOCK_ROWS) } else { (WIDTH, BLOCK_COLUMNS) };
        let shared = rank.trailing_zeros().min(Moments::BLOCK.trailing_zeros());
        let rows_of_codes = if coded { Moments::BLOCK >> shared } else { 1 };
        // Both numbers are powers of two, but for a factor of three in the width.
        let unit = least * (rows_of_codes >> least.trailing_zeros().min(rows_of_codes.trailing_zeros()));
        (kept / (4 * rayon::current_num_threads())).clamp(1, most).next_multiple_of(unit)
    }

    fn task<K: Tile>(&self, kept: std::ops::Range<usize>, piece: &mut Piece, scratch: &mut Scratch) {
        let rank = self.sizes.rank;
        scratch.projected.clear();
        scratch.projected.resize(kept.len() * rank, 0.0);
        self.project::<K>(kept.clone(), &mut scratch.projected, &mut scratch.grad);
        scratch.direction.resize(kept.len() * rank, 0.0);
        piece.step(self.inner, kept.start * rank, &scratch.projected, &mut scratch.direction);
        let direction = &scratch.direction[..];
        if self.right {
            return self.project_back::<K>(direction, &self.panels, kept, 0..self.sizes.columns);
        }
        lay_out_panels(direction, rank, &mut scratch.panels);
        self.project_back::<K>(self.basis, &scratch.panels, 0..self.sizes.rows, kept);
    }

    /// Adds the gradient of some rows of the state, in the subspace, to zeros.
    fn project<K: Tile>(&self, kept: std::ops::Range<usize>, to: &mut [f32], laid_out: &mut Vec<f32>) {
        let LowRankSizes { columns, rank, depth, .. } = self.sizes;
        let as_it_is: Option<&[f32]> =
            (self.right && G::DTYPE == DType::F32).then(|| bytemuck::cast_slice(self.grad));
        let fits = if as_it_is.is_some() { depth } else { LAID_OUT / kept.len() };
        let step = (BASIS / rank).min(fits).clamp(64, 2048);
        for from in (0..depth).step_by(step) {
            let part = from..depth.min(from + step);
            let finish = if from == 0 { Finish::Write } else { Finish::Add };
            // Where the rows of a tile begin, and how far it is to the next row and the next term.
            let (a, tile, a_row, a_step) = match as_it_is {
                Some(grad) => (&grad[kept.start * columns + from..], ROWS * columns, columns, 1),
                None if self.right => {
                    self.widen_rows(kept.clone(), part.clone(), laid_out);
                    (&laid_out[..], ROWS * part.len(), part.len(), 1)
                }
                None => {
                    self.lay_out_columns(kept.clone(), part.clone(), laid_out);
                    (&laid_out[..], ROWS * part.len(), 1, ROWS)
                }
            };
            for row in (0..kept.len()).step_by(ROWS) {
                let a = &a[row / ROWS * tile..];
                if let Some(grad) = as_it_is {
                    for next in kept.start + row + ROWS..kept.end.min(kept.start + row + 2 * ROWS) {
                        prefetch(grad, next * columns + part.start..next * columns + part.end);
                    }
                }
                for column in (0..rank).step_by(WIDTH) {
                    let factors = Factors {
                        a,
                        a_row,
                        a_step,
                        b: &self.basis[part.start * rank + column..],
                        b_step: rank,
                        rows: ROWS.min(kept.len() - row),
                        columns: WIDTH.min(rank - column),
                        depth: part.len(),
                    };
                    let out = to[row * rank + column..].as_mut_ptr();
                    // SAFETY: the rows and columns of the tile are some of `to`, which is borrowed mutably.
                    unsafe { K::multiply(&factors, out, rank, finish) };
                }
            }
        }
    }

    /// Some columns of some rows of the gradient, one row after the other.
    fn widen_rows(&self, rows: std::ops::Range<usize>, part: std::ops::Range<usize>, to: &mut Vec<f32>) {
        to.resize(rows.len() * part.len(), 0.0);
        dispatch(
            #[inline(always)]
            || {
                for (row, to) in rows.zip(to.chunks_exact_mut(part.len())) {
                    let from = &self.grad[row * self.sizes.columns..][part.clone()];
                    to.iter_mut().zip(from).for_each(|(to, x)| *to = x.widen());
                }
            },
        );
    }

    /// Some rows of some columns of the gradient: [`ROWS`] columns after the other, in each the rows, with zeros behind the
    /// last column.
    fn lay_out_columns(
        &self,
        columns: std::ops::Range<usize>,
        part: std::ops::Range<usize>,
        to: &mut Vec<f32>,
    ) {
        /// Rows that memory is asked for ahead.
        const AHEAD: usize = 8;
        let all = self.sizes.columns;
        to.resize(columns.len().next_multiple_of(ROWS) * part.len(), 0.0);
        dispatch(
            #[inline(always)]
            || {
                for (k, row) in part.clone().enumerate() {
                    prefetch(
                        self.grad,
                        (row + AHEAD) * all + columns.start..(row + AHEAD) * all + columns.end,
                    );
                    let from = &self.grad[row * all..][columns.clone()];
                    for (i, from) in from.chunks(ROWS).enumerate() {
                        let to = &mut to[(i * part.len() + k) * ROWS..][..ROWS];
                        match from.as_array::<ROWS>() {
                            Some(from) => to.iter_mut().zip(from).for_each(|(to, x)| *to = x.widen()),
                            None => {
                                to.fill(0.0);
                                to.iter_mut().zip(from).for_each(|(to, x)| *to = x.widen());
                            }
                        }
                    }
                }
            },
        );
    }

    /// Moves some rows and columns of the weight by the product of the rows of `a` and the panels of `b`, which has those
    /// columns.
    fn project_back<K: Tile>(
        &self,
        a: &[f32],
        panels: &[f32],
        rows: std::ops::Range<usize>,
        columns: std::ops::Range<usize>,
    ) {
        let LowRankSizes { columns: all, rank, .. } = self.sizes;
        for row in (0..rows.len()).step_by(ROWS) {
            for (panel, column) in columns.clone().step_by(WIDTH).enumerate() {
                let factors = Factors {
                    a: &a[row * rank..],
                    a_row: rank,
                    a_step: 1,
                    b: &panels[panel * rank * WIDTH..][..rank * WIDTH],
                    b_step: WIDTH,
                    rows: ROWS.min(rows.len() - row),
                    columns: WIDTH.min(columns.end - column),
                    depth: rank,
                };
                self.update::<K>(&factors, (rows.start + row) * all + column);
            }
        }
    }

    /// Moves a tile of the weight.
    fn update<K: Tile>(&self, factors: &Factors, at: usize) {
        let [factor, keep] = self.factors;
        let (all, weight) = (self.sizes.columns, self.weight.0);
        if W::DTYPE == DType::F32 {
            // SAFETY: the rows and columns of the tile are some of the weight, which this task alone has and nobody
            // has a slice of; and its type is `f32`.
            return unsafe {
                K::multiply(factors, weight.add(at).cast(), all, Finish::Update { factor, keep })
            };
        }
        let mut sums = [0f32; ROWS * WIDTH];
        // SAFETY: the sums are there, and no slice of them is alive.
        unsafe { K::multiply(factors, sums.as_mut_ptr(), WIDTH, Finish::Write) };
        dispatch(
            #[inline(always)]
            || {
                for (r, sums) in sums.as_chunks::<WIDTH>().0.iter().enumerate().take(factors.rows) {
                    let first = at + r * all;
                    // SAFETY: as above.
                    let run = unsafe { std::slice::from_raw_parts_mut(weight.add(first), factors.columns) };
                    match self.noise {
                        None => self.move_run(&Nearest, run, sums),
                        Some(noise) => self.move_run(&Random::<WIDTH>::new(noise, first), run, sums),
                    }
                }
            },
        );
    }

    /// Moves a run of the weight that is not `f32` by a row of a tile.
    #[inline(always)]
    fn move_run<R: Rounding>(&self, rounding: &R, run: &mut [W], sums: &[f32; WIDTH]) {
        let [factor, keep] = self.factors;
        for i in 0..run.len().min(WIDTH) {
            let kept = if keep == 0.0 { 0.0 } else { keep * run[i].widen() };
            run[i] = rounding.stored(i, 0, kept + factor * sums[i]);
        }
    }
}

/// The transpose of a matrix of so many columns, in panels of [`WIDTH`] columns, with zeros behind the last.
fn panels(x: &[f32], columns: usize) -> Vec<f32> {
    let mut panels = Vec::new();
    lay_out_panels(x, columns, &mut panels);
    panels
}

fn lay_out_panels(x: &[f32], columns: usize, to: &mut Vec<f32>) {
    to.resize((x.len() / columns).next_multiple_of(WIDTH) * columns, 0.0);
    for (to, x) in to.chunks_exact_mut(WIDTH * columns).zip(x.chunks(WIDTH * columns)) {
        #[cfg(target_arch = "x86_64")]
        if super::product::lay_out(x, columns, to) {
            continue;
        }
        if x.len() < to.len() {
            to.fill(0.0);
        }
        for (i, row) in x.chunks_exact(columns).enumerate() {
            to[i..].iter_mut().step_by(WIDTH).zip(row).for_each(|(to, x)| *to = *x);
        }
    }
}

#[cfg(test)]
mod tests;
