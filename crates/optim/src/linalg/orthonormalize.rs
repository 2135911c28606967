use faer::linalg::triangular_inverse::invert_lower_triangular;
use faer::{Mat, Par, Side};
use gristmill_core::ops::{GramOptions, MatmulOptions};
use gristmill_core::{Code, Error, Result, Tensor};

/// How far the Gram matrix may be from the identity before a pass of Cholesky QR that is the last: the distance after it is
/// of the order of its square, or of rounding.
const LAST: f64 = 1e-2;
/// The least pivot of a Gram matrix of unit columns that is no rounding of `f32`.
const LEAST_PIVOT: f64 = 1e-5;
/// The least pivot of columns that are nearly orthogonal.
const PIVOT_OF_ORTHOGONAL: f64 = 0.1;
/// Passes at the most: each about squares the distance.
const PASSES: usize = 4;

/// An orthonormal basis of the columns of `x`: `[rows, columns]`, `f32`, columns not more than rows; `‖QᵀQ − I‖` is a few
/// units of rounding, 10⁻⁵ at the most.
///
/// CholeskyQR2 (Yamamoto et al. 2015): the Gram matrix comes from the device, the host factorises it in `f64`, and the
/// columns are multiplied by the inverse factor; twice. Columns are first brought to one length. Where a pivot vanishes in
/// rounding, because columns depend on each other or are zeros, the host does a Householder QR in `f64`, which gives an
/// orthonormal basis of a space that contains them in any case.
///
/// # Errors
/// [`Code::ShapeMismatch`], [`Code::DtypeMismatch`], [`Code::InvalidValue`] for what is not finite; those of the device.
pub fn orthonormalize(x: &Tensor) -> Result<Tensor> {
    let columns = checked(x)?;
    orthonormal(x, &vec![1.0; columns])
}

/// The same, where every column has this sign (or factor) first.
pub(super) fn orthonormal(x: &Tensor, signs: &[f64]) -> Result<Tensor> {
    let columns = checked(x)?;
    let mut q = x.clone();
    for pass in 0..PASSES {
        let gram = gram_of(&q)?;
        let Some(mut factor) = inverse_factor(&gram, LEAST_PIVOT) else { return householder(x, signs) };
        if pass == 0 {
            for (j, sign) in signs.iter().enumerate() {
                (0..=j).for_each(|i| factor[(i, j)] *= sign);
            }
        }
        q = times(&q, &factor)?;
        let one = |i, j| f64::from(u8::from(i == j));
        let distance = |(i, j): (usize, usize)| (gram[(i, j)] - one(i, j)).abs();
        let entries = (0..columns).flat_map(|j| (0..columns).map(move |i| (i, j)));
        if entries.map(distance).fold(0.0, f64::max) < LAST {
            return Ok(q);
        }
    }
    householder(x, signs)
}

/// Columns of the same span, near enough to orthonormal that a product with them loses nothing: a single pass.
pub(super) fn well_conditioned(x: &Tensor) -> Result<Tensor> {
    let columns = checked(x)?;
    match inverse_factor(&gram_of(x)?, LEAST_PIVOT) {
        Some(factor) => times(x, &factor),
        None => householder(x, &vec![1.0; columns]),
    }
}

/// The columns as they are, and what makes them orthonormal, where a product with them loses nothing even before: where they
/// are nearly orthogonal, whatever their lengths. Otherwise [`well_conditioned`] columns.
pub(super) fn nearly_orthogonal(x: Tensor) -> Result<(Tensor, Option<Mat<f64>>)> {
    match inverse_factor(&gram_of(&x)?, PIVOT_OF_ORTHOGONAL) {
        Some(factor) => Ok((x, Some(factor))),
        None => Ok((well_conditioned(&x)?, None)),
    }
}

/// How many columns there are: not more than rows.
fn checked(x: &Tensor) -> Result<usize> {
    let [rows, columns] = **x.shape() else {
        return Err(
            Error::new(Code::ShapeMismatch, format!("expected a matrix, given {}", x.shape())).at_column("x")
        );
    };
    if columns > rows {
        return Err(
            Error::new(Code::ShapeMismatch, format!("{columns} columns in {rows} dimensions")).at_column("x")
        );
    }
    Ok(columns)
}

/// `qᵀq`, as the device has it.
///
/// # Errors
/// [`Code::InvalidValue`] for what is not finite; those of the device.
pub(super) fn gram_of(q: &Tensor) -> Result<Mat<f64>> {
    let (_, n) = q.shape().rows_cols();
    let gram = q.gram(GramOptions { columns: true, ..Default::default() })?.to_vec::<f32>()?;
    if gram.iter().any(|x| !x.is_finite()) {
        return Err(Error::new(Code::InvalidValue, "expected finite numbers").at_column("x"));
    }
    Ok(Mat::from_fn(n, n, |i, j| f64::from(gram[i * n + j])))
}

/// `q` times a matrix of the host.
pub(super) fn times(q: &Tensor, factor: &Mat<f64>) -> Result<Tensor> {
    let (rows, columns) = (factor.nrows(), factor.ncols());
    let values = (0..rows * columns).map(|i| factor[(i / columns, i % columns)] as f32).collect();
    q.matmul(&q.device().tensor(values, [rows, columns])?, MatmulOptions::default())
}

/// The inverse of the upper Cholesky factor of a symmetric matrix; `None` where a pivot is less than this, beside ones on the
/// diagonal of the matrix.
fn inverse_factor(gram: &Mat<f64>, least_pivot: f64) -> Option<Mat<f64>> {
    let n = gram.nrows();
    let scales: Vec<f64> = (0..n).map(|i| gram[(i, i)].sqrt()).collect();
    if scales.iter().any(|&s| s <= 0.0 || !(1.0 / s).is_finite()) {
        return None;
    }
    // With ones on the diagonal, so that pivots can be compared with one bound.
    let unit = Mat::from_fn(n, n, |i, j| gram[(i, j)] / (scales[i] * scales[j]));
    let cholesky = unit.llt(Side::Lower).ok()?;
    let lower = cholesky.L();
    if (0..n).any(|i| lower[(i, i)].powi(2) < least_pivot) {
        return None;
    }
    let mut inverse = Mat::zeros(n, n);
    invert_lower_triangular(inverse.as_mut(), lower, Par::rayon(0));
    Some(Mat::from_fn(n, n, |i, j| if i <= j { inverse[(j, i)] / scales[i] } else { 0.0 }))
}

fn householder(x: &Tensor, signs: &[f64]) -> Result<Tensor> {
    let (rows, columns) = x.shape().rows_cols();
    let values = x.to_vec::<f32>()?;
    // Of one length, so that small columns are not lost beside large ones.
    let scale = |j: usize| {
        let norm = (0..rows).map(|i| f64::from(values[i * columns + j]).powi(2)).sum::<f64>().sqrt();
        if norm > 0.0 { signs[j] / norm } else { 0.0 }
    };
    let scales: Vec<f64> = (0..columns).map(scale).collect();
    let matrix = Mat::from_fn(rows, columns, |i, j| f64::from(values[i * columns + j]) * scales[j]);
    let q = matrix.qr().compute_thin_Q();
    let values = (0..rows * columns).map(|i| q[(i / columns, i % columns)] as f32).collect();
    x.device().tensor(values, [rows, columns])
}
