//! Sixteen numbers, in registers that the compiler will not take for memory.

/// Numbers that are one vector of the widest machines, and a few of the others.
pub(super) const VECTOR: usize = 16;

/// As many numbers, in whatever registers.
///
/// # Safety
/// The machine must have the registers of the implementation; whoever chooses it has asked.
pub(super) unsafe trait Vector: Copy {
    /// How many of them a row of a tile has at most.
    const MOST: usize;

    /// The same number everywhere.
    fn splat(x: f32) -> Self;

    /// What is there.
    ///
    /// # Safety
    /// At least [`VECTOR`] numbers can be read.
    unsafe fn load(from: *const f32) -> Self;

    /// Writes it there.
    ///
    /// # Safety
    /// At least [`VECTOR`] numbers can be written.
    unsafe fn store(self, to: *mut f32);

    /// `self · a + b`, rounded once if `FUSED`.
    fn mul_add<const FUSED: bool>(self, a: Self, b: Self) -> Self;
}

/// For machines that have nothing better.
#[derive(Clone, Copy)]
pub(super) struct Plain([f32; VECTOR]);

// SAFETY: it needs nothing.
unsafe impl Vector for Plain {
    const MOST: usize = 1;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([x; VECTOR])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises it.
        Self(unsafe { from.cast::<[f32; VECTOR]>().read() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises it.
        unsafe { to.cast::<[f32; VECTOR]>().write(self.0) }
    }

    #[inline(always)]
    fn mul_add<const FUSED: bool>(self, a: Self, b: Self) -> Self {
        let mut out = b.0;
        for ((out, x), a) in out.iter_mut().zip(self.0).zip(a.0) {
            *out = if FUSED { x.mul_add(a, *out) } else { x * a + *out };
        }
        Self(out)
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Vector;

    /// One register of 512 bits.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512(__m512);

    // SAFETY: chosen only where AVX-512 was detected, which is what the intrinsics below need.
    unsafe impl Vector for Avx512 {
        const MOST: usize = 4;

        #[inline(always)]
        fn splat(x: f32) -> Self {
            // SAFETY: the machine has AVX-512.
            Self(unsafe { _mm512_set1_ps(x) })
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: the machine has AVX-512, and the caller promises that the numbers are there.
            Self(unsafe { _mm512_loadu_ps(from) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: as above.
            unsafe { _mm512_storeu_ps(to, self.0) }
        }

        #[inline(always)]
        fn mul_add<const FUSED: bool>(self, a: Self, b: Self) -> Self {
            // SAFETY: the machine has AVX-512.
            Self(unsafe {
                match FUSED {
                    true => _mm512_fmadd_ps(self.0, a.0, b.0),
                    false => _mm512_add_ps(_mm512_mul_ps(self.0, a.0), b.0),
                }
            })
        }
    }

    /// Two registers of 256 bits.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2(__m256, __m256);

    // SAFETY: chosen only where AVX2 was detected; fused operations are asked for only where they were too.
    unsafe impl Vector for Avx2 {
        const MOST: usize = 1;

        #[inline(always)]
        fn splat(x: f32) -> Self {
            // SAFETY: the machine has AVX2.
            let x = unsafe { _mm256_set1_ps(x) };
            Self(x, x)
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: the machine has AVX2, and the caller promises that the numbers are there.
            unsafe { Self(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: as above.
            unsafe {
                _mm256_storeu_ps(to, self.0);
                _mm256_storeu_ps(to.add(8), self.1);
            }
        }

        #[inline(always)]
        fn mul_add<const FUSED: bool>(self, a: Self, b: Self) -> Self {
            // SAFETY: the machine has AVX2, and FMA where fused operations are asked for.
            unsafe {
                let one = |x, a, b| match FUSED {
                    true => _mm256_fmadd_ps(x, a, b),
                    false => _mm256_add_ps(_mm256_mul_ps(x, a), b),
                };
                Self(one(self.0, a.0, b.0), one(self.1, a.1, b.1))
            }
        }
    }
}
