//! The products of a strip of outputs and a panel of inputs.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use crate::ops::lanes::{Vectors, Work, dispatch_fused};

/// Outputs of a tile.
pub(in super::super) const ROWS: usize = 8;

/// Inputs of a tile: three vectors of 512 bits.
pub(in super::super) const COLUMNS: usize = 48;

/// A way to multiply.
pub(in super::super) trait Tile: Sync {
    /// `sums[r, c] = Σ_k dy[k, r] · x[k, c]`, with `[k, ROWS]`, `[k, COLUMNS]` and `[ROWS, COLUMNS]` numbers; what was in
    /// `sums` is added if `carry`.
    fn multiply(dy: &[f32], x: &[f32], sums: &mut [f32], carry: bool);
}

/// Calls `work` with the fastest way of this machine.
pub(in super::super) fn fastest<W: Dispatched>(work: W) -> W::Output {
    match Vectors::detect() {
        #[cfg(target_arch = "x86_64")]
        Vectors::Avx512 => work.run::<Avx512>(),
        _ => work.run::<Plain>(),
    }
}

/// Work that multiplies.
pub(in super::super) trait Dispatched {
    /// What it gives.
    type Output;
    /// Does it.
    fn run<K: Tile>(self) -> Self::Output;
}

fn check(dy: &[f32], x: &[f32], sums: &[f32]) -> usize {
    let rows = dy.len() / ROWS;
    assert_eq!((dy.len(), x.len(), sums.len()), (rows * ROWS, rows * COLUMNS, ROWS * COLUMNS));
    rows
}

/// With vectors of 512 bits; only where [`Vectors::detect`] found them.
#[cfg(target_arch = "x86_64")]
pub(in super::super) enum Avx512 {}

#[cfg(target_arch = "x86_64")]
impl Tile for Avx512 {
    fn multiply(dy: &[f32], x: &[f32], sums: &mut [f32], carry: bool) {
        let rows = check(dy, x, sums);
        // SAFETY: `fastest`, which alone names this type, found the instructions; the sizes were just checked.
        unsafe { multiply(dy.as_ptr(), x.as_ptr(), rows, sums.as_mut_ptr(), carry) }
    }
}

/// # Safety
/// So many rows of `dy` and `x` can be read, and a tile of sums read and written.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn multiply(dy: *const f32, x: *const f32, rows: usize, sums: *mut f32, carry: bool) {
    const VECTOR: usize = 16;
    const VECTORS: usize = COLUMNS / VECTOR;
    // SAFETY: all reads and writes are of what the caller promises; none asks for an alignment.
    unsafe {
        let mut sum = [[_mm512_setzero_ps(); VECTORS]; ROWS];
        if carry {
            for (r, sum) in sum.iter_mut().enumerate() {
                for (v, sum) in sum.iter_mut().enumerate() {
                    *sum = _mm512_loadu_ps(sums.add(r * COLUMNS + v * VECTOR));
                }
            }
        }
        for k in 0..rows {
            let mut b = [_mm512_setzero_ps(); VECTORS];
            for (v, b) in b.iter_mut().enumerate() {
                *b = _mm512_loadu_ps(x.add(k * COLUMNS + v * VECTOR));
            }
            for (r, sum) in sum.iter_mut().enumerate() {
                let a = _mm512_set1_ps(*dy.add(k * ROWS + r));
                for (sum, b) in sum.iter_mut().zip(b) {
                    *sum = _mm512_fmadd_ps(a, b, *sum);
                }
            }
        }
        for (r, sum) in sum.into_iter().enumerate() {
            for (v, sum) in sum.into_iter().enumerate() {
                _mm512_storeu_ps(sums.add(r * COLUMNS + v * VECTOR), sum);
            }
        }
    }
}

/// With what the compiler makes of plain loops.
pub(in super::super) enum Plain {}

impl Tile for Plain {
    fn multiply(dy: &[f32], x: &[f32], sums: &mut [f32], carry: bool) {
        check(dy, x, sums);
        dispatch_fused(PlainTile { dy, x, sums, carry });
    }
}

struct PlainTile<'a> {
    dy: &'a [f32],
    x: &'a [f32],
    sums: &'a mut [f32],
    carry: bool,
}

impl Work for PlainTile<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        /// What the registers of most machines hold.
        const R: usize = 4;
        const C: usize = 16;
        for (row, column) in (0..ROWS).step_by(R).flat_map(|r| (0..COLUMNS).step_by(C).map(move |c| (r, c))) {
            let mut sum = [[0.0f32; C]; R];
            if self.carry {
                for (r, sum) in sum.iter_mut().enumerate() {
                    sum.copy_from_slice(&self.sums[(row + r) * COLUMNS + column..][..C]);
                }
            }
            for (dy, x) in self.dy.chunks_exact(ROWS).zip(self.x.chunks_exact(COLUMNS)) {
                let (dy, x) = (&dy[row..][..R], &x[column..][..C]);
                for (sum, &dy) in sum.iter_mut().zip(dy) {
                    for (sum, &x) in sum.iter_mut().zip(x) {
                        *sum = if FUSED { dy.mul_add(x, *sum) } else { *sum + dy * x };
                    }
                }
            }
            for (r, sum) in sum.iter().enumerate() {
                self.sums[(row + r) * COLUMNS + column..][..C].copy_from_slice(sum);
            }
        }
    }
}
