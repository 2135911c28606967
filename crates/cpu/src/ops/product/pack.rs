use std::arch::x86_64::*;
use std::ops::Range;

use super::WIDTH;
use super::kernel::Lanes;
use crate::ops::lanes::dispatch;
use crate::ops::matmul::Matrix;

/// Lanes and columns that are turned at one time.
const SQUARE: usize = 16;

/// Lays out columns of a matrix of `k` rows: lane by lane, in each the columns one after the other, and zeros up to
/// [`WIDTH`].
pub(super) fn pack<T: Lanes>(b: Matrix<T>, columns: Range<usize>, k: usize, panel: &mut [u32]) {
    assert!(T::detected() && panel.len() == k / T::PER_LANE * WIDTH);
    if columns.len() < WIDTH {
        panel.fill(0);
    }
    if b.transposed {
        // SAFETY: the instructions are there, as was just asserted.
        return unsafe { turn(&b.data[columns.start * k..columns.end * k], k, panel) };
    }
    dispatch(
        #[inline(always)]
        || {
            for (lane, panel) in panel.chunks_exact_mut(WIDTH).enumerate() {
                let row = |i: usize| &b.data[(lane * T::PER_LANE + i) * b.row_stride..][columns.clone()];
                match T::PER_LANE {
                    1 => panel.iter_mut().zip(row(0)).for_each(|(to, x)| *to = x.bits()),
                    _ => {
                        let pairs = row(0).iter().zip(row(1));
                        panel.iter_mut().zip(pairs).for_each(|(to, (x, y))| *to = x.bits() | y.bits() << 16);
                    }
                }
            }
        },
    );
}

/// Columns that are stored one after the other, `k` elements each.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn turn<T: Lanes>(columns: &[T], k: usize, panel: &mut [u32]) {
    let lanes = k / T::PER_LANE;
    for (i, columns) in columns.chunks(SQUARE * k).enumerate() {
        let count = columns.len() / k;
        for lane in (0..lanes).step_by(SQUARE) {
            let wanted = SQUARE.min(lanes - lane);
            let mask = ((1u32 << wanted) - 1) as u16;
            let mut square = [_mm512_setzero_si512(); SQUARE];
            for (c, row) in square.iter_mut().enumerate().take(count) {
                // SAFETY: column `c` has so many lanes from this one on, and no others are read.
                *row = unsafe {
                    _mm512_maskz_loadu_epi32(mask, columns.as_ptr().add(c * k + lane * T::PER_LANE).cast())
                };
            }
            for (l, turned) in transpose(square).into_iter().enumerate().take(wanted) {
                let to = &mut panel[(lane + l) * WIDTH + i * SQUARE..][..SQUARE];
                // SAFETY: so many numbers can be written there.
                unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), turned) };
            }
        }
    }
}

/// Rows to columns: neighbours change places, then pairs, fours and eights.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose(mut x: [__m512i; SQUARE]) -> [__m512i; SQUARE] {
    // Within quarters of a vector: 4 × 4 squares.
    for i in (0..SQUARE).step_by(4) {
        let [a, b, c, d] = [x[i], x[i + 1], x[i + 2], x[i + 3]];
        let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
        let (ab_high, cd_high) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
        x[i] = _mm512_unpacklo_epi64(ab, cd);
        x[i + 1] = _mm512_unpackhi_epi64(ab, cd);
        x[i + 2] = _mm512_unpacklo_epi64(ab_high, cd_high);
        x[i + 3] = _mm512_unpackhi_epi64(ab_high, cd_high);
    }
    // Quarters as a whole: a square of 4 × 4 of them for each of the 4 vectors.
    let mut out = x;
    for i in 0..4 {
        let [a, b, c, d] = [x[i], x[4 + i], x[8 + i], x[12 + i]];
        let (ab_even, cd_even) = (_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(c, d, 0x88));
        let (ab_odd, cd_odd) = (_mm512_shuffle_i32x4(a, b, 0xDD), _mm512_shuffle_i32x4(c, d, 0xDD));
        out[i] = _mm512_shuffle_i32x4(ab_even, cd_even, 0x88);
        out[8 + i] = _mm512_shuffle_i32x4(ab_even, cd_even, 0xDD);
        out[4 + i] = _mm512_shuffle_i32x4(ab_odd, cd_odd, 0x88);
        out[12 + i] = _mm512_shuffle_i32x4(ab_odd, cd_odd, 0xDD);
    }
    out
}
