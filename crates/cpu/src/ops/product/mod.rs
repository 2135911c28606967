//! Products of `f32` and `bf16` with 512-bit vectors.
//!
//! The right factor is laid out in panels of [`WIDTH`] columns, lane by lane: a lane is 32 bits, one `f32` or a pair of
//! neighbouring `bf16`. A tile is [`ROWS`] rows by a panel, whose sums stay in registers while the whole depth goes by;
//! a lane of each row meets three vectors of the panel. The two types differ in one instruction: a fused
//! multiplication and addition, or `vdpbf16ps`, which multiplies both numbers of a lane and adds the products to an
//! `f32` (rounding each sum to nearest, and taking subnormal numbers for 0).
//!
//! The left factor is read where it lies, so its rows must be stored as rows of whole lanes. A panel is laid out once
//! and used for all rows of a task, and [`DEPTH`] lanes of it at a time stay in the second-level cache.
//!
//! Each element is one sum in the order of the depth, whatever tile it is in and whatever its neighbours are: a row
//! has the same bits in a product of one row and of thousands.

mod kernel;
mod pack;

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::lanes::{dispatch, prefetch};
use super::matmul::Matrix;
use crate::float::Float;
pub(super) use kernel::Lanes;

/// Rows of a tile.
const ROWS: usize = 8;

/// Columns of a panel: three vectors.
pub(super) const WIDTH: usize = 48;

/// Lanes of a panel that go by before the next rows do: 384 KiB of it.
const DEPTH: usize = 2048;

/// Rows whose sums wait together for what becomes of them.
const CHUNK: usize = 128;

/// The least rows of a task, for which laying out a panel is little beside using it.
const LEAST_ROWS: usize = 256;

/// That this machine has the instructions for this type.
#[derive(Clone, Copy)]
pub(super) struct Product<T>(PhantomData<T>);

/// What a thread needs for one panel after the other.
pub(super) struct Scratch {
    /// Columns of the right factor, `[lanes, WIDTH]`.
    panel: Vec<u32>,
    /// Sums of some rows, `[CHUNK, WIDTH]`.
    sums: Vec<f32>,
}

impl Scratch {
    /// For products of `k` elements.
    pub(super) fn new<T: Lanes>(k: usize) -> Self {
        Self { panel: vec![0; k / T::PER_LANE * WIDTH], sums: vec![0.0; CHUNK * WIDTH] }
    }
}

impl<T: Lanes> Product<T> {
    /// If this machine has what it takes, and `k` elements are whole lanes.
    pub(super) fn of_depth(k: usize) -> Option<Self> {
        (k.is_multiple_of(T::PER_LANE) && T::detected()).then_some(Self(PhantomData))
    }

    /// `a · b` for all rows of `a`, which has `k` columns, and for at most [`WIDTH`] columns of `b`: calls `take` with
    /// some rows of the product at a time, the number of the first and [`WIDTH`] sums for each, of which those behind
    /// the columns are 0.
    pub(super) fn panel(
        self,
        a: &[T],
        b: Matrix<T>,
        columns: Range<usize>,
        k: usize,
        scratch: &mut Scratch,
        mut take: impl FnMut(usize, &[f32]),
    ) {
        let lanes = k / T::PER_LANE;
        let Scratch { panel, sums } = scratch;
        assert!(k > 0 && a.len().is_multiple_of(k) && columns.len() <= WIDTH);
        assert_eq!((panel.len(), sums.len()), (lanes * WIDTH, CHUNK * WIDTH));
        pack::pack(b, columns, k, panel);
        for (chunk, a) in a.chunks(CHUNK * k).enumerate() {
            for from in (0..lanes).step_by(DEPTH) {
                let lanes = DEPTH.min(lanes - from);
                let panel = &panel[from * WIDTH..][..lanes * WIDTH];
                for (a, sums) in a.chunks(ROWS * k).zip(sums.chunks_exact_mut(ROWS * WIDTH)) {
                    // SAFETY: the instructions were detected when `self` was made. The rows have `k` elements each, of
                    // which as many lanes as the panel has are left behind `from`; there is a row of sums for each.
                    unsafe { T::tile(&a[from * T::PER_LANE..], k, panel, sums, from > 0) };
                }
            }
            take(chunk * CHUNK, &sums[..a.len() / k * WIDTH]);
        }
    }

    /// `out = alpha · a · b + beta · out`, with `a` of `m × k` and `out` of `m × n` stored by rows.
    pub(super) fn matmul<O: Float>(
        self,
        [m, n, k]: [usize; 3],
        a: &[T],
        b: Matrix<T>,
        [alpha, beta]: [f32; 2],
        out: &mut [O],
    ) {
        assert_eq!((a.len(), out.len()), (m * k, m * n));
        let panels = n.div_ceil(WIDTH);
        let parts = (4 * rayon::current_num_threads()).div_ceil(panels.max(1));
        let rows = m.div_ceil(parts).next_multiple_of(CHUNK).max(LEAST_ROWS);
        let out = Out(out.as_mut_ptr());
        (0..panels * m.div_ceil(rows)).into_par_iter().for_each_init(
            || Scratch::new::<T>(k),
            |scratch, task| {
                let (first, columns) = (task / panels * rows, task % panels * WIDTH);
                let columns = columns..n.min(columns + WIDTH);
                let a = &a[first * k..m.min(first + rows) * k];
                self.panel(a, b, columns.clone(), k, scratch, |row, sums| {
                    for (i, sums) in sums.chunks_exact(WIDTH).enumerate() {
                        // SAFETY: the output is `m × n`, which this row and these columns are within, and no other
                        // task has them.
                        let out = unsafe { out.run((first + row + i) * n + columns.start, columns.len()) };
                        dispatch(
                            #[inline(always)]
                            || finish(sums, [alpha, beta], out),
                        );
                    }
                });
            },
        );
    }
}

/// The transpose of at most [`WIDTH`] rows of `k` numbers, laid out as a panel; not where the instructions are missing, as
/// it says.
pub(super) fn lay_out(rows: &[f32], k: usize, panel: &mut [f32]) -> bool {
    if !f32::detected() {
        return false;
    }
    let count = rows.len() / k;
    pack::pack(Matrix::new(rows, [k, count], true), 0..count, k, bytemuck::cast_slice_mut(panel));
    true
}

/// Lanes of which a square is made at a time: sums of more would lose more to rounding.
const SQUARE_DEPTH: usize = 512;

impl Product<f32> {
    /// At most [`WIDTH`] columns of `a · aᵀ` from `first` on, of the rows from `first` on: `[rows, WIDTH]` sums, of which
    /// those above the diagonal mean nothing. `panel` is for `[k, WIDTH]` numbers.
    pub(super) fn square(self, a: &[f32], first: usize, k: usize, panel: &mut [u32], sums: &mut [f32]) {
        let rows = a.len() / k;
        let columns = first..rows.min(first + WIDTH);
        pack::pack(Matrix::new(a, [k, rows], true), columns, k, panel);
        let mut part = [0.0; ROWS * WIDTH];
        let a = &a[first * k..];
        for (group, sums) in sums[..(rows - first) * WIDTH].chunks_mut(ROWS * WIDTH).enumerate() {
            let of_group = &a[group * ROWS * k..];
            let count = sums.len() / WIDTH;
            for from in (0..k).step_by(SQUARE_DEPTH) {
                let lanes = SQUARE_DEPTH.min(k - from);
                // The same lanes of the next rows, which begin in other pages.
                for row in ROWS..2 * ROWS {
                    prefetch(of_group, row * k + from..row * k + from + lanes);
                }
                let panel = &panel[from * WIDTH..][..lanes * WIDTH];
                let (part, a) = (&mut part[..sums.len()], &of_group[from..count * k]);
                // SAFETY: the instructions were detected when `self` was made. The rows have `k` elements each, of which
                // as many as the panel has are left behind `from`; there is a row of sums for each.
                unsafe {
                    match (count, (group + 1) * ROWS) {
                        (ROWS, ..=16) => f32::whole::<1>(a, k, panel, part),
                        (ROWS, ..=32) => f32::whole::<2>(a, k, panel, part),
                        _ => f32::tile(a, k, panel, part, false),
                    }
                }
                dispatch(
                    #[inline(always)]
                    || match from {
                        0 => sums.copy_from_slice(part),
                        _ => sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += *part),
                    },
                );
            }
        }
    }
}

/// `out = alpha · sums + beta · out`.
#[inline(always)]
fn finish<O: Float>(sums: &[f32], [alpha, beta]: [f32; 2], out: &mut [O]) {
    match beta {
        0.0 => out.iter_mut().zip(sums).for_each(|(y, x)| *y = O::narrow(alpha * x)),
        beta => out.iter_mut().zip(sums).for_each(|(y, x)| *y = O::narrow(alpha * x + beta * y.widen())),
    }
}

/// Where the output begins.
struct Out<O>(*mut O);

// SAFETY: tasks write different elements of it, and nobody reads them before all tasks have ended.
unsafe impl<O: Send> Sync for Out<O> {}

impl<O> Out<O> {
    /// So many elements from `first` on.
    ///
    /// # Safety
    /// They are there, and no other slice of them is alive.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    unsafe fn run(&self, first: usize, len: usize) -> &mut [O] {
        // SAFETY: the caller promises it.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(first), len) }
    }
}

#[cfg(test)]
mod tests;
