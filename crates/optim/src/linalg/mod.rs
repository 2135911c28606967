//! Orthonormal bases and polar factors, composed of products on a device and small problems on the host.

mod exact;
mod newton_schulz;
mod orthonormalize;
mod range;
mod rotate;

pub use exact::leading_vectors;
pub use newton_schulz::newton_schulz;
pub use orthonormalize::orthonormalize;
pub use range::{RangeOptions, captured_energy, range_find};
pub use rotate::{rotate, rotate_back};

use gristmill_core::{DType, Error, Result, Tensor};

/// The tensor itself, or its numbers as `f32`.
///
/// # Errors
/// Those of [`Tensor::cast`].
pub fn f32_of(x: &Tensor) -> Result<Tensor> {
    if x.dtype() == DType::F32 { Ok(x.clone()) } else { x.cast(DType::F32) }
}

/// Refuses more iterations than could be meant: what is iterated here converges within tens, and nothing stops it.
pub(crate) fn check_iterations(name: &str, given: usize) -> Result<()> {
    const MOST: usize = 1_000;
    if given <= MOST {
        return Ok(());
    }
    Err(Error::invalid_argument(name, format!("expected at most {MOST} iterations, given {given}")))
}

/// The sum of the squares of all elements, as a tensor of one.
pub(crate) fn sum_squares(x: &Tensor) -> Result<Tensor> {
    x.reshape([1, x.len()])?.row_reduce(gristmill_core::ops::Reduction::SumSquares)
}
