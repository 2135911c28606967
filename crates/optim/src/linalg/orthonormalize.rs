use faer::Mat;
use gristmill_core::ops::MatmulOptions;
use gristmill_core::{Code, Error, Result, Tensor};

/// How far the Gram matrix may be from the identity before a pass of Cholesky QR that is the last: the distance after it is
/// of the order of its square, or of rounding.
const LAST: f64 = 1e-2;
/// The least pivot of a Gram matrix of unit columns that is no rounding of `f32`.
const LEAST_PIVOT: f64 = 1e-5;
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
    let mut q = x.clone();
    for _ in 0..PASSES {
        let gram = gram_of(&q)?;
        if gram.iter().any(|x| !x.is_finite()) {
            return Err(Error::new(Code::InvalidValue, "expected finite numbers").at_column("x"));
        }
        let Some(factor) = inverse_factor(&gram, columns) else { return householder(x, rows, columns) };
        let distance = gram
            .iter()
            .enumerate()
            .map(|(i, g)| (g - f64::from(u8::from(i / columns == i % columns))).abs())
            .fold(0.0, f64::max);
        let factor = x.device().tensor(factor.iter().map(|&x| x as f32).collect(), [columns, columns])?;
        q = q.matmul(&factor, MatmulOptions::default())?;
        if distance < LAST {
            return Ok(q);
        }
    }
    householder(x, rows, columns)
}

/// `qᵀq`, by rows.
fn gram_of(q: &Tensor) -> Result<Vec<f64>> {
    let gram = q.matmul(q, MatmulOptions { trans_a: true, ..Default::default() })?;
    Ok(gram.to_vec::<f32>()?.into_iter().map(f64::from).collect())
}

/// The inverse of the upper Cholesky factor of a symmetric matrix, by rows; `None` where it is not positive definite beyond
/// rounding.
fn inverse_factor(gram: &[f64], n: usize) -> Option<Vec<f64>> {
    let scales: Vec<f64> = (0..n).map(|i| gram[i * n + i].sqrt()).collect();
    if scales.iter().any(|&s| s <= 0.0 || !(1.0 / s).is_finite()) {
        return None;
    }
    // The lower factor, by rows, of the matrix with ones on its diagonal.
    let mut lower = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let (before, row) = lower.split_at_mut(i * n);
            let other = if j == i { &row[..j] } else { &before[j * n..j * n + j] };
            let dot: f64 = row[..j].iter().zip(other).map(|(a, b)| a * b).sum();
            let rest = gram[i * n + j] / (scales[i] * scales[j]) - dot;
            row[j] = match i == j {
                true if rest < LEAST_PIVOT => return None,
                true => rest.sqrt(),
                false => rest / before[j * n + j],
            };
        }
    }
    // The inverse of the lower factor, by rows; its transpose is that of the upper one.
    let mut inverse = vec![0.0; n * n];
    for i in 0..n {
        let (before, row) = inverse.split_at_mut(i * n);
        row[i] = 1.0;
        for k in 0..i {
            let factor = lower[i * n + k];
            if factor != 0.0 {
                row[..=k].iter_mut().zip(&before[k * n..=k * n + k]).for_each(|(x, y)| *x -= factor * y);
            }
        }
        let pivot = lower[i * n + i];
        row[..=i].iter_mut().for_each(|x| *x /= pivot);
    }
    let mut upper = vec![0.0; n * n];
    for (i, scale) in scales.iter().enumerate() {
        for j in i..n {
            upper[i * n + j] = inverse[j * n + i] / scale;
        }
    }
    Some(upper)
}

fn householder(x: &Tensor, rows: usize, columns: usize) -> Result<Tensor> {
    let values = x.to_vec::<f32>()?;
    // Of one length, so that small columns are not lost beside large ones.
    let scale = |j: usize| {
        let norm = (0..rows).map(|i| f64::from(values[i * columns + j]).powi(2)).sum::<f64>().sqrt();
        if norm > 0.0 { 1.0 / norm } else { 0.0 }
    };
    let scales: Vec<f64> = (0..columns).map(scale).collect();
    let matrix = Mat::from_fn(rows, columns, |i, j| f64::from(values[i * columns + j]) * scales[j]);
    let q = matrix.qr().compute_thin_Q();
    let values = (0..rows * columns).map(|i| q[(i / columns, i % columns)] as f32).collect();
    x.device().tensor(values, [rows, columns])
}
