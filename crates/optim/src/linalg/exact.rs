use faer::{Mat, Par, Side};
use gristmill_core::{Code, Device, Error, Result, Tensor};

/// The leading left (or, with `right`, right) singular vectors of `x` by an eigendecomposition of the Gram matrix of that
/// side in `f64` on the host: `[rows, rank]` or `[columns, rank]`, `f32`, those of the greatest singular values first.
/// The component of greatest magnitude of every vector is positive (the first of several).
///
/// This is the exact choice, and the slow one: `O(k³)` for `k` rows (columns) beside the product. Vectors whose singular
/// value is below about 10⁻⁸ of the greatest are orthonormal, but any such.
///
/// # Errors
/// [`Code::ShapeMismatch`], [`Code::InvalidArgument`] for a rank of 0 or beyond the side, [`Code::InvalidValue`] for what is
/// not finite; those of the device.
pub fn leading_vectors(x: &Tensor, rank: usize, right: bool) -> Result<Tensor> {
    let [rows, columns] = **x.shape() else {
        return Err(
            Error::new(Code::ShapeMismatch, format!("expected a matrix, given {}", x.shape())).at_column("x")
        );
    };
    let side = if right { columns } else { rows };
    if rank == 0 || rank > side {
        return Err(Error::invalid_argument("rank", format!("expected 1 to {side}, given {rank}")));
    }
    let values = super::f32_of(x)?.to_vec::<f32>()?;
    if values.iter().any(|x| !x.is_finite()) {
        return Err(Error::new(Code::InvalidValue, "expected finite numbers").at_column("x"));
    }
    let matrix = Mat::from_fn(rows, columns, |i, j| f64::from(values[i * columns + j]));
    let mut gram = Mat::<f64>::zeros(side, side);
    let (a, b) = match right {
        true => (matrix.transpose(), matrix.as_ref()),
        false => (matrix.as_ref(), matrix.transpose()),
    };
    faer::linalg::matmul::matmul(gram.as_mut(), faer::Accum::Replace, a, b, 1.0, Par::rayon(0));
    let (_, vectors) = eigen(&gram)?;
    to_device(x.device(), side, rank, |i, j| vectors[(i, side - 1 - j)])
}

/// Eigenvalues, ascending, and eigenvectors, as columns, of a symmetric matrix.
pub(super) fn eigen(gram: &Mat<f64>) -> Result<(Vec<f64>, Mat<f64>)> {
    let fails = |e| Error::new(Code::Internal, format!("the eigendecomposition did not converge: {e:?}"));
    let eigen = gram.self_adjoint_eigen(Side::Lower).map_err(fails)?;
    let values = eigen.S().column_vector().iter().copied().collect();
    Ok((values, eigen.U().to_owned()))
}

/// Columns on a device, each with the sign that makes its greatest component positive.
fn to_device(
    device: &Device,
    rows: usize,
    columns: usize,
    entry: impl Fn(usize, usize) -> f64,
) -> Result<Tensor> {
    let mut values = vec![0f32; rows * columns];
    for j in 0..columns {
        let greatest =
            (0..rows).map(|i| entry(i, j)).fold(0.0, |a: f64, x| if x.abs() > a.abs() { x } else { a });
        let sign = if greatest < 0.0 { -1.0 } else { 1.0 };
        for i in 0..rows {
            values[i * columns + j] = (sign * entry(i, j)) as f32;
        }
    }
    device.tensor(values, [rows, columns])
}
