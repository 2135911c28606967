use gristmill_core::ops::MatmulOptions;
use gristmill_core::{Result, Tensor};

use super::f32_of;

/// A matrix in the coordinates of an orthonormal basis `Q` of its left side, `xᵀQ`, `[columns, rank]`, or of its `right` one,
/// `xQ`, `[rows, rank]`; `f32`. With a whole basis this turns the matrix and loses nothing, as Conda does with its momentum;
/// with less it is a projection, as in GaLore.
///
/// # Errors
/// [`gristmill_core::Code::ShapeMismatch`] unless `basis` is `[rows, rank]`, or `[columns, rank]` of the right side;
/// [`gristmill_core::Code::DtypeMismatch`].
pub fn rotate(x: &Tensor, basis: &Tensor, right: bool) -> Result<Tensor> {
    f32_of(x)?.matmul(&f32_of(basis)?, MatmulOptions { trans_a: !right, ..Default::default() })
}

/// What [`rotate`] gave, back in the space of the matrix: `Q xᵀ`, or of the `right` side `x Qᵀ`; `f32`.
///
/// # Errors
/// As those of [`rotate`].
pub fn rotate_back(x: &Tensor, basis: &Tensor, right: bool) -> Result<Tensor> {
    let (x, basis) = (f32_of(x)?, f32_of(basis)?);
    let (a, b) = if right { (x, basis) } else { (basis, x) };
    a.matmul(&b, MatmulOptions { trans_b: true, ..Default::default() })
}
