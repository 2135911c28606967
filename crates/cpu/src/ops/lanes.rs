//! Sums in a fixed order that vectors of any width can follow.
//!
//! Value `i` of a segment goes to lane `i % 8`; the lanes are added in pairs at the end. A machine with
//! 128-bit vectors holds the lanes in four registers, one with 256-bit vectors in two: the additions are the
//! same and so are the bits. The compiler does not reorder floating-point additions, nor fuse them with
//! anything, so one source serves all widths.

use crate::Real;

const LANES: usize = 8;

#[inline(always)]
pub(super) fn sum<T: Real>(values: &[T]) -> f64 {
    let mut lanes = [0.0; LANES];
    let mut chunks = values.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += value.into();
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane += value.into();
    }
    total(lanes)
}

#[inline(always)]
fn total(l: [f64; LANES]) -> f64 {
    canonical(((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7])))
}

/// One bit pattern for NaN: which one an addition makes depends on the order of its operands in the machine
/// code, and results that differ in a sign would make files that differ.
#[inline(always)]
pub(super) fn canonical(x: f64) -> f64 {
    if x.is_nan() { f64::NAN } else { x }
}

/// Whether the 256-bit version runs on this machine.
pub(crate) fn wide() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// Runs `work` compiled for the widest vectors of this machine. `work` must be `#[inline(always)]` down to
/// its loops for that to make a difference.
#[inline(always)]
pub(super) fn dispatch<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn avx2<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        if wide() {
            // SAFETY: the processor has AVX2, as `wide` just found.
            return unsafe { avx2(work) };
        }
    }
    work()
}
