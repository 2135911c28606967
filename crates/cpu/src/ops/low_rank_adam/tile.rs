//! Tiles of products of `f32`, of factors that lie in memory in any regular way.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use crate::ops::lanes::{Vectors, Work, dispatch_fused};

/// Rows of a tile at the most.
pub(super) const ROWS: usize = 8;

/// Columns of a tile at the most: three vectors of 512 bits.
pub(super) const WIDTH: usize = 48;

/// The factors of a tile: `a[row · a_row + k · a_step]` and `b[k · b_step + column]`.
#[derive(Clone, Copy)]
pub(super) struct Factors<'a> {
    pub(super) a: &'a [f32],
    pub(super) a_row: usize,
    pub(super) a_step: usize,
    pub(super) b: &'a [f32],
    pub(super) b_step: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) depth: usize,
}

impl Factors<'_> {
    /// Whether all of it is there.
    fn check(&self) {
        let Self { a, a_row, a_step, b, b_step, rows, columns, depth } = *self;
        assert!((1..=ROWS).contains(&rows) && (1..=WIDTH).contains(&columns));
        let last = depth.saturating_sub(1);
        assert!(
            depth == 0 || (rows - 1) * a_row + last * a_step < a.len() && last * b_step + columns <= b.len()
        );
    }
}

/// What becomes of the sums of a tile.
#[derive(Clone, Copy)]
pub(super) enum Finish {
    /// They are written.
    Write,
    /// They begin with what is there.
    Add,
    /// `keep` times what is there, plus `factor` times the sum; with `keep` 0 what is there does not matter.
    Update { factor: f32, keep: f32 },
}

/// A way to multiply.
pub(super) trait Tile: Sync {
    /// Each sum in the order of the depth: the same bits in whichever tile it is. Row `r` of the result begins at
    /// `out + r · stride`.
    ///
    /// # Safety
    /// So many columns of so many rows of `out` can be read and written, and no slice of them is alive.
    unsafe fn multiply(factors: &Factors, out: *mut f32, stride: usize, finish: Finish);
}

/// Work that multiplies.
pub(super) trait Dispatched {
    /// Does it.
    fn run<K: Tile>(self);
}

/// Calls `work` with the fastest way of this machine.
pub(super) fn fastest(work: impl Dispatched) {
    match Vectors::detect() {
        #[cfg(target_arch = "x86_64")]
        Vectors::Avx512 => work.run::<Avx512>(),
        _ => work.run::<Plain>(),
    }
}

/// With vectors of 512 bits; only where [`Vectors::detect`] found them.
#[cfg(target_arch = "x86_64")]
pub(super) enum Avx512 {}

#[cfg(target_arch = "x86_64")]
impl Tile for Avx512 {
    unsafe fn multiply(factors: &Factors, out: *mut f32, stride: usize, finish: Finish) {
        factors.check();
        let mut row = 0;
        while row < factors.rows {
            // SAFETY: the instructions are there, as `fastest`, which alone names this type, found; the factors were
            // just checked, and the caller promises the output, of which these are some rows.
            row += unsafe {
                let out = out.add(row * stride);
                // Without depth there may be no elements either.
                let a = factors.a.get(row * factors.a_row..).unwrap_or_default();
                let of = Factors { a, ..*factors };
                match (factors.rows - row, factors.columns.div_ceil(VECTOR)) {
                    (8.., 1) => rows::<8, 1>(&of, out, stride, finish),
                    (8.., 2) => rows::<8, 2>(&of, out, stride, finish),
                    (8.., _) => rows::<8, 3>(&of, out, stride, finish),
                    (4.., 1) => rows::<4, 1>(&of, out, stride, finish),
                    (4.., 2) => rows::<4, 2>(&of, out, stride, finish),
                    (4.., _) => rows::<4, 3>(&of, out, stride, finish),
                    (_, 1) => rows::<1, 1>(&of, out, stride, finish),
                    (_, 2) => rows::<1, 2>(&of, out, stride, finish),
                    (_, _) => rows::<1, 3>(&of, out, stride, finish),
                }
            };
        }
    }
}

/// Numbers of a vector.
#[cfg(target_arch = "x86_64")]
const VECTOR: usize = 16;

/// `R` rows of `V` vectors, of which the last may have fewer columns; gives how many rows.
///
/// # Safety
/// The factors have at least `R` rows and are all there, and so is the output, which no slice is alive of.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn rows<const R: usize, const V: usize>(
    factors: &Factors,
    out: *mut f32,
    stride: usize,
    finish: Finish,
) -> usize {
    let Factors { a, a_row, a_step, b, b_step, columns, depth, .. } = *factors;
    let last = ((1u32 << (columns - VECTOR * (V - 1))) - 1) as __mmask16;
    let mask = |v: usize| if v == V - 1 { last } else { !0 };
    let mut sum = [[_mm512_setzero_ps(); V]; R];
    // SAFETY: all reads and writes are of what the caller promises; none asks for an alignment, and what a mask leaves
    // out is not touched.
    unsafe {
        for (r, sum) in sum.iter_mut().enumerate() {
            for (v, sum) in sum.iter_mut().enumerate() {
                let at = out.add(r * stride + v * VECTOR);
                match finish {
                    Finish::Add => *sum = _mm512_maskz_loadu_ps(mask(v), at),
                    // By the time the sums are there, so is what they meet.
                    Finish::Update { .. } => _mm_prefetch::<_MM_HINT_T0>(at.cast()),
                    Finish::Write => {}
                }
            }
        }
        let (a, b) = (a.as_ptr(), b.as_ptr());
        for k in 0..depth {
            let mut right = [_mm512_setzero_ps(); V];
            for (v, right) in right.iter_mut().enumerate() {
                *right = _mm512_maskz_loadu_ps(mask(v), b.add(k * b_step + v * VECTOR));
            }
            for (r, sum) in sum.iter_mut().enumerate() {
                let left = _mm512_set1_ps(*a.add(r * a_row + k * a_step));
                for (sum, right) in sum.iter_mut().zip(right) {
                    *sum = _mm512_fmadd_ps(left, right, *sum);
                }
            }
        }
        for (r, sum) in sum.into_iter().enumerate() {
            for (v, sum) in sum.into_iter().enumerate() {
                let at = out.add(r * stride + v * VECTOR);
                let value = match finish {
                    Finish::Write | Finish::Add => sum,
                    Finish::Update { factor, keep: 0.0 } => _mm512_mul_ps(_mm512_set1_ps(factor), sum),
                    Finish::Update { factor, keep } => {
                        let kept = _mm512_mul_ps(_mm512_set1_ps(keep), _mm512_maskz_loadu_ps(mask(v), at));
                        _mm512_fmadd_ps(_mm512_set1_ps(factor), sum, kept)
                    }
                };
                match mask(v) {
                    0xFFFF => _mm512_storeu_ps(at, value),
                    some => _mm512_mask_storeu_ps(at, some, value),
                }
            }
        }
    }
    R
}

/// With whatever vectors there are.
pub(super) enum Plain {}

impl Tile for Plain {
    unsafe fn multiply(factors: &Factors, out: *mut f32, stride: usize, finish: Finish) {
        factors.check();
        for (row, column) in
            (0..factors.rows).step_by(R).flat_map(|r| (0..factors.columns).step_by(C).map(move |c| (r, c)))
        {
            let (rows, columns) = (R.min(factors.rows - row), C.min(factors.columns - column));
            let mut sums = [[0f32; C]; R];
            // SAFETY: the caller promises these rows and columns of the output, and that no slice of them is alive.
            let run = |r: usize| unsafe {
                std::slice::from_raw_parts_mut(out.add((row + r) * stride + column), columns)
            };
            if matches!(finish, Finish::Add) {
                sums.iter_mut()
                    .take(rows)
                    .enumerate()
                    .for_each(|(r, sums)| sums[..columns].copy_from_slice(run(r)));
            }
            let of = Factors { rows, columns, ..*factors };
            dispatch_fused(Part { factors: of, row, column, sums: &mut sums });
            for (r, sums) in sums.iter().take(rows).enumerate() {
                for (out, sum) in run(r).iter_mut().zip(sums) {
                    *out = match finish {
                        Finish::Write | Finish::Add => *sum,
                        Finish::Update { factor, keep: 0.0 } => factor * sum,
                        Finish::Update { factor, keep } => keep * *out + factor * sum,
                    };
                }
            }
        }
    }
}

/// What the registers of most machines hold.
const R: usize = 4;
const C: usize = 16;

/// A part of a tile.
struct Part<'a> {
    factors: Factors<'a>,
    row: usize,
    column: usize,
    sums: &'a mut [[f32; C]; R],
}

impl Work for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Factors { a, a_row, a_step, b, b_step, rows, columns, depth } = self.factors;
        let mut sums = *self.sums;
        for k in 0..depth {
            let mut right = [0f32; C];
            let from = &b[k * b_step + self.column..][..columns];
            match from.first_chunk::<C>() {
                Some(whole) => right = *whole,
                None => right[..columns].copy_from_slice(from),
            }
            let mut left = [0f32; R];
            for (r, left) in left.iter_mut().enumerate().take(rows) {
                *left = a[(self.row + r) * a_row + k * a_step];
            }
            for (sums, left) in sums.iter_mut().zip(left) {
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = if FUSED { left.mul_add(right, *sum) } else { *sum + left * right };
                }
            }
        }
        *self.sums = sums;
    }
}
