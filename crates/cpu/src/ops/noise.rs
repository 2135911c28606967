//! How numbers become what is stored: to the nearest, or with random bits, made for a run of elements at a time so that
//! their rounds are vectors. Whoever rounds takes runs of [`Rounding::RUN`] elements at the most.

use gristmill_core::DType;
use gristmill_core::ops::Noise;
use half::bf16;

use crate::float::Float;

/// How the numbers of a run are stored.
pub(super) trait Rounding {
    /// Elements of a run at the most.
    const RUN: usize;

    /// A number of element `i` of the run: of its parameter (0), `m` (1) or `v` (2).
    fn stored<T: Float>(&self, i: usize, which: usize, x: f32) -> T;
}

/// To the nearest.
pub(super) struct Nearest;

impl Rounding for Nearest {
    const RUN: usize = usize::MAX;

    #[inline(always)]
    fn stored<T: Float>(&self, _: usize, _: usize, x: f32) -> T {
        T::narrow(x)
    }
}

/// To `bf16` with these random bits, of parameter, `m` and `v`; to the nearest where another type is stored.
pub(super) struct Random<const N: usize>([[u32; N]; 3]);

impl<const N: usize> Random<N> {
    /// Of the elements from `first` on.
    #[inline(always)]
    pub(super) fn new(noise: Noise, first: usize) -> Self {
        let mut bits = [[0; N]; 3];
        let [param, m, v] = &mut bits;
        for i in 0..N {
            [param[i], m[i], v[i]] = noise.bits((first + i) as u32);
        }
        Self(bits)
    }
}

impl<const N: usize> Rounding for Random<N> {
    const RUN: usize = N;

    #[inline(always)]
    fn stored<T: Float>(&self, i: usize, which: usize, x: f32) -> T {
        if T::DTYPE != DType::Bf16 {
            return T::narrow(x);
        }
        let bits = Noise::round(x, self.0[which][i]);
        T::narrow(bf16::from_bits(bits).widen())
    }
}

/// The noise, if any of these types takes it.
#[inline(always)]
pub(super) fn taken(noise: Option<Noise>, types: &[DType]) -> Option<Noise> {
    noise.filter(|_| types.contains(&DType::Bf16))
}
