use std::arch::is_x86_feature_detected as has;
use std::arch::x86_64::*;
use std::mem::transmute;

use half::bf16;

use super::{ROWS, WIDTH};
use crate::float::Float;

/// Numbers of a vector of `f32`.
const VECTOR: usize = 16;

/// Vectors of a panel's row.
const VECTORS: usize = WIDTH / VECTOR;

/// Elements whose products have an instruction here.
pub(in super::super) trait Lanes: Float {
    /// Elements of a lane.
    const PER_LANE: usize;

    /// Its bits, in the lower end.
    fn bits(self) -> u32;

    /// Whether this machine has the instructions.
    fn detected() -> bool;

    /// Sums of at most [`ROWS`] rows: `a` begins with the first lane of the first row, and rows are `stride` elements
    /// apart; what was in `sums` is added if `carry`. The last row of `a` may end behind the panel's lanes.
    ///
    /// # Safety
    /// [`Lanes::detected`].
    unsafe fn tile(a: &[Self], stride: usize, panel: &[u32], sums: &mut [f32], carry: bool);

    /// Sums of [`ROWS`] rows for the first of the panel's vectors alone, as many as `V` is.
    ///
    /// # Safety
    /// [`Lanes::detected`].
    unsafe fn whole<const V: usize>(a: &[Self], stride: usize, panel: &[u32], sums: &mut [f32]);
}

/// The sum and what a lane of each side gives.
trait Step: Lanes {
    /// # Safety
    /// [`Lanes::detected`].
    unsafe fn step(a: __m512i, b: __m512i, sum: __m512) -> __m512;
}

impl Step for f32 {
    #[inline(always)]
    unsafe fn step(a: __m512i, b: __m512i, sum: __m512) -> __m512 {
        // SAFETY: the caller promises AVX-512.
        unsafe { _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum) }
    }
}

impl Step for bf16 {
    #[inline(always)]
    unsafe fn step(a: __m512i, b: __m512i, sum: __m512) -> __m512 {
        // SAFETY: the caller promises the instruction; both types are 512 bits of which each pattern is valid.
        unsafe {
            let (a, b) = (transmute::<__m512i, __m512bh>(a), transmute::<__m512i, __m512bh>(b));
            _mm512_dpbf16_ps(sum, a, b)
        }
    }
}

impl Lanes for f32 {
    const PER_LANE: usize = 1;

    #[inline(always)]
    fn bits(self) -> u32 {
        self.to_bits()
    }

    fn detected() -> bool {
        has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl")
    }

    unsafe fn tile(a: &[f32], stride: usize, panel: &[u32], sums: &mut [f32], carry: bool) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        fn tile(a: &[f32], stride: usize, panel: &[u32], sums: &mut [f32], carry: bool) {
            // SAFETY: this function has the features.
            unsafe { by_rows(a, stride, panel, sums, carry) }
        }
        // SAFETY: the caller promises them.
        unsafe { tile(a, stride, panel, sums, carry) }
    }

    unsafe fn whole<const V: usize>(a: &[f32], stride: usize, panel: &[u32], sums: &mut [f32]) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        fn whole<const V: usize>(a: &[f32], stride: usize, panel: &[u32], sums: &mut [f32]) {
            // SAFETY: this function has the features.
            unsafe { whole_rows::<f32, V>(a, stride, panel, sums) }
        }
        // SAFETY: the caller promises them.
        unsafe { whole::<V>(a, stride, panel, sums) }
    }
}

impl Lanes for bf16 {
    const PER_LANE: usize = 2;

    #[inline(always)]
    fn bits(self) -> u32 {
        self.to_bits().into()
    }

    fn detected() -> bool {
        f32::detected() && has!("avx512bf16")
    }

    unsafe fn tile(a: &[bf16], stride: usize, panel: &[u32], sums: &mut [f32], carry: bool) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
        fn tile(a: &[bf16], stride: usize, panel: &[u32], sums: &mut [f32], carry: bool) {
            // SAFETY: this function has the features.
            unsafe { by_rows(a, stride, panel, sums, carry) }
        }
        // SAFETY: the caller promises them.
        unsafe { tile(a, stride, panel, sums, carry) }
    }

    unsafe fn whole<const V: usize>(a: &[bf16], stride: usize, panel: &[u32], sums: &mut [f32]) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
        fn whole<const V: usize>(a: &[bf16], stride: usize, panel: &[u32], sums: &mut [f32]) {
            // SAFETY: this function has the features.
            unsafe { whole_rows::<bf16, V>(a, stride, panel, sums) }
        }
        // SAFETY: the caller promises them.
        unsafe { whole::<V>(a, stride, panel, sums) }
    }
}

/// As many rows as there are.
///
/// # Safety
/// [`Lanes::detected`].
#[inline(always)]
unsafe fn by_rows<T: Step>(a: &[T], stride: usize, panel: &[u32], sums: &mut [f32], carry: bool) {
    let (lanes, rows) = (panel.len() / WIDTH, a.len().div_ceil(stride));
    assert!((rows - 1) * stride + lanes * T::PER_LANE <= a.len() && rows * WIDTH <= sums.len());
    let (a, panel, sums) = (a.as_ptr(), panel.as_ptr(), sums.as_mut_ptr());
    // SAFETY: the caller promises the instructions; the rows, the panel and the sums are there, as just asserted.
    unsafe {
        match rows {
            1 => tile::<T, 1, VECTORS>(a, stride, lanes, panel, sums, carry),
            2 => tile::<T, 2, VECTORS>(a, stride, lanes, panel, sums, carry),
            3 => tile::<T, 3, VECTORS>(a, stride, lanes, panel, sums, carry),
            4 => tile::<T, 4, VECTORS>(a, stride, lanes, panel, sums, carry),
            5 => tile::<T, 5, VECTORS>(a, stride, lanes, panel, sums, carry),
            6 => tile::<T, 6, VECTORS>(a, stride, lanes, panel, sums, carry),
            7 => tile::<T, 7, VECTORS>(a, stride, lanes, panel, sums, carry),
            ROWS => tile::<T, ROWS, VECTORS>(a, stride, lanes, panel, sums, carry),
            _ => unreachable!("a tile has at most {ROWS} rows"),
        }
    }
}

/// [`ROWS`] rows and `V` vectors.
///
/// # Safety
/// [`Lanes::detected`].
#[inline(always)]
unsafe fn whole_rows<T: Step, const V: usize>(a: &[T], stride: usize, panel: &[u32], sums: &mut [f32]) {
    const { assert!(V <= VECTORS) };
    let lanes = panel.len() / WIDTH;
    assert!((ROWS - 1) * stride + lanes * T::PER_LANE <= a.len() && ROWS * WIDTH <= sums.len());
    // SAFETY: the caller promises the instructions; the rows, the panel and the sums are there, as just asserted.
    unsafe { tile::<T, ROWS, V>(a.as_ptr(), stride, lanes, panel.as_ptr(), sums.as_mut_ptr(), false) }
}

/// `R` rows, and the first `V` vectors of the panel.
///
/// # Safety
/// [`Lanes::detected`]; `R` rows of so many lanes can be read, each `stride` elements behind the one before, and a
/// panel of so many lanes; `R` rows of [`WIDTH`] sums can be read and written.
#[inline(always)]
unsafe fn tile<T: Step, const R: usize, const V: usize>(
    a: *const T,
    stride: usize,
    lanes: usize,
    panel: *const u32,
    sums: *mut f32,
    carry: bool,
) {
    // SAFETY: all reads and writes are of what the caller promises; none asks for an alignment.
    unsafe {
        let mut sum = [[_mm512_setzero_ps(); V]; R];
        if carry {
            for (r, sum) in sum.iter_mut().enumerate() {
                for (v, sum) in sum.iter_mut().enumerate() {
                    *sum = _mm512_loadu_ps(sums.add(r * WIDTH + v * VECTOR));
                }
            }
        }
        for lane in 0..lanes {
            let mut b = [_mm512_setzero_si512(); V];
            for (v, b) in b.iter_mut().enumerate() {
                *b = _mm512_loadu_si512(panel.add(lane * WIDTH + v * VECTOR).cast());
            }
            for (r, sum) in sum.iter_mut().enumerate() {
                let a = a.add(r * stride + lane * T::PER_LANE).cast::<i32>().read_unaligned();
                let a = _mm512_set1_epi32(a);
                for (sum, b) in sum.iter_mut().zip(b) {
                    *sum = T::step(a, b, *sum);
                }
            }
        }
        for (r, sum) in sum.into_iter().enumerate() {
            for (v, sum) in sum.into_iter().enumerate() {
                _mm512_storeu_ps(sums.add(r * WIDTH + v * VECTOR), sum);
            }
        }
    }
}
