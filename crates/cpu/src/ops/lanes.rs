//! Vectors of whatever width the machine has, from one source.
//!
//! Loops here are written over lanes: value `i` of a run goes to lane `i % n`, and the lanes are combined in pairs at
//! the end. A machine with 128-bit vectors holds the lanes in several registers, one with 512-bit vectors in one: the
//! additions are the same and so are the bits. The compiler does not reorder floating-point additions, nor fuse them
//! with anything, so one source serves all widths.

use crate::number::Number;

/// Lanes of a sum.
pub(super) const LANES: usize = 8;

/// The sum of what `term` makes of the values, in `f64`.
#[inline(always)]
pub(super) fn sum<T: Number>(values: &[T], term: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    let mut chunks = values.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += term(value.as_f64());
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane += term(value.as_f64());
    }
    total(lanes)
}

#[inline(always)]
fn total(l: [f64; LANES]) -> f64 {
    canonical(((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7])))
}

/// What sums that ran beside each other come to. A call of its own: a compiler that sees how lanes are combined in the end
/// keeps those of several sums apart from the beginning, in no vector.
#[inline(never)]
pub(super) fn totals<const N: usize>(sums: &[[f64; LANES]; N]) -> [f64; N] {
    sums.map(total)
}

/// One bit pattern for NaN: which one an addition makes depends on the order of its operands in the machine
/// code, and results that differ in a sign would make files that differ.
#[inline(always)]
pub(super) fn canonical(x: f64) -> f64 {
    if x.is_nan() { f64::NAN } else { x }
}

/// The greatest of `floor` and what `key` makes of the values, NaNs aside.
#[inline(always)]
pub(super) fn max<T: Copy, K: Copy + PartialOrd, const N: usize>(
    values: &[T],
    floor: K,
    key: impl Fn(T) -> K,
) -> K {
    let greater = |a: K, b: K| if b > a { b } else { a };
    let mut lanes = [floor; N];
    let mut chunks = values.chunks_exact(N);
    for chunk in &mut chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = greater(*lane, key(value));
        }
    }
    let rest = chunks.remainder().iter().map(|&value| key(value));
    rest.chain(lanes).fold(floor, greater)
}

/// Asks the second cache for values that will be needed soon; of those beyond the end, for none.
#[inline(always)]
pub(super) fn prefetch<T>(values: &[T], range: std::ops::Range<usize>) {
    const LINE: usize = 64;
    #[cfg(target_arch = "x86_64")]
    if let Some(values) = values.get(range.start..range.end.min(values.len())) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        for line in values.chunks((LINE / size_of::<T>()).max(1)) {
            // SAFETY: nothing is read, and the address is that of a value; every x86-64 has the instruction.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, range, LINE);
}

/// The vectors that operations use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vectors {
    /// Those that every processor of this architecture has.
    Baseline,
    /// 256 bits.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512 bits.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Vectors {
    /// The widest of this machine.
    #[inline(always)]
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
                return Vectors::Avx512;
            }
            if has!("avx2") {
                return Vectors::Avx2;
            }
        }
        Vectors::Baseline
    }

    /// The name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx2 => "avx2",
            Vectors::Baseline => match std::env::consts::ARCH {
                "x86_64" => "sse2",
                "aarch64" => "neon",
                _ => "scalar",
            },
        }
    }
}

/// Work that may use fused operations where the machine has them: its bits are those of the machine.
pub(super) trait Work {
    /// What it gives.
    type Output;
    /// Does it.
    fn run<const FUSED: bool>(self) -> Self::Output;
}

/// [`dispatch`] for such work.
#[inline(always)]
pub(super) fn dispatch_fused<W: Work>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma")]
        fn avx2<W: Work>(work: W) -> W::Output {
            work.run::<true>()
        }
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
        fn avx512<W: Work>(work: W) -> W::Output {
            work.run::<true>()
        }
        if std::arch::is_x86_feature_detected!("fma") {
            match Vectors::detect() {
                // SAFETY: the processor has the extensions, as was just found.
                Vectors::Avx512 => return unsafe { avx512(work) },
                // SAFETY: as above.
                Vectors::Avx2 => return unsafe { avx2(work) },
                Vectors::Baseline => {}
            }
        }
    }
    // Every 64-bit ARM has fused operations.
    match cfg!(target_arch = "aarch64") {
        true => work.run::<true>(),
        false => work.run::<false>(),
    }
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
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        fn avx512<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        match Vectors::detect() {
            // SAFETY: the processor has the extensions, as `detect` just found.
            Vectors::Avx512 => return unsafe { avx512(work) },
            // SAFETY: as above.
            Vectors::Avx2 => return unsafe { avx2(work) },
            Vectors::Baseline => {}
        }
    }
    work()
}
