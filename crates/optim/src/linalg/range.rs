use faer::Mat;
use gristmill_core::ops::{Draw, MatmulOptions};
use gristmill_core::{Code, Error, Result, Tensor};

use super::exact::eigen;
use super::orthonormalize::{gram_of, nearly_orthogonal, orthonormal, times, well_conditioned};
use super::{check_iterations, f32_of, sum_squares};

/// How [`range_find`] works.
#[derive(Debug, Clone)]
pub struct RangeOptions {
    /// Dimensions of the subspace; at most the smaller side of the matrix.
    pub rank: usize,
    /// Random directions beyond the rank; 8 by default. Those that capture least are dropped in the end.
    pub oversample: usize,
    /// Passes of the power iteration after the first, two products of the matrix each; 1 by default.
    pub power: usize,
    /// A basis to start from instead of random directions, `[side, rank]`.
    pub start: Option<Tensor>,
    /// Whether the basis is of the right side; of the left by default.
    pub right: bool,
    /// What random directions are drawn with.
    pub seed: u64,
}

impl RangeOptions {
    /// The defaults, for this rank.
    pub fn new(rank: usize) -> Self {
        Self { rank, oversample: 8, power: 1, start: None, right: false, seed: 0 }
    }
}

/// An orthonormal basis that captures most of the energy of `x` that as many dimensions can: `[rows, rank]`, or with
/// `right` `[columns, rank]`, `f32` (Halko, Martinsson and Tropp 2011, algorithm 4.4, with CholeskyQR2 for QR).
///
/// With `g` the matrix or its transpose, as the side asks, a pass is `Z = orth(gᵀ Q)`, `Y = g Z`: from random directions
/// `Q`, or from the basis before, for which one pass is enough. As `Z` is orthonormal, eigenvectors of `YᵀY` turn the
/// columns of `Y` to approximations of the singular vectors of `g`, without a further product of the matrix; those of the
/// greatest eigenvalues stay, first the greatest. Signs are such that the greatest component of a vector is positive, or,
/// from a start, that it agrees with what it was.
///
/// # Errors
/// [`Code::ShapeMismatch`], [`Code::InvalidArgument`] for a rank of 0 or beyond the smaller side, or more than 1,000 passes,
/// [`Code::InvalidValue`] for what is not finite; those of the device.
pub fn range_find(x: &Tensor, options: &RangeOptions) -> Result<Tensor> {
    let [rows, columns] = **x.shape() else {
        return Err(
            Error::new(Code::ShapeMismatch, format!("expected a matrix, given {}", x.shape())).at_column("x")
        );
    };
    let &RangeOptions { rank, right, .. } = options;
    let (side, other) = if right { (columns, rows) } else { (rows, columns) };
    if rank == 0 || rank > side.min(other) {
        return Err(Error::invalid_argument(
            "rank",
            format!("expected 1 to {}, the smaller side of {}, given {rank}", side.min(other), x.shape()),
        ));
    }
    check_iterations("power", options.power)?;
    let x = &f32_of(x)?;
    // Products of the matrix, or its transpose, from this side to the other, and back.
    let forth = |y: &Tensor| x.matmul(y, MatmulOptions { trans_a: !right, ..Default::default() });
    let back = |y: &Tensor| x.matmul(y, MatmulOptions { trans_a: right, ..Default::default() });
    let mut basis = match &options.start {
        Some(start) if **start.shape() == [side, rank] => f32_of(start)?,
        Some(start) => {
            let what = format!("expected [{side}, {rank}], given {}", start.shape());
            return Err(Error::new(Code::ShapeMismatch, what).at_column("start"));
        }
        None => {
            let width = (rank + options.oversample).min(side.min(other));
            x.device().philox([side, width], Draw::Normal, options.seed, 0, 0)?
        }
    };
    for _ in 0..options.power {
        basis = well_conditioned(&back(&well_conditioned(&forth(&basis)?)?)?)?;
    }
    let (half, factor) = nearly_orthogonal(forth(&basis)?)?;
    turned(&back(&half)?, factor.as_ref(), rank, options.start.as_ref())
}

/// What is least of the greatest eigenvalue is noise of `f32`, and is not made larger.
const LEAST_EIGENVALUE: f64 = 1e-12;

/// An orthonormal basis of the leading directions of the columns of `y factor`, orthogonal to each other in their order.
fn turned(y: &Tensor, factor: Option<&Mat<f64>>, rank: usize, start: Option<&Tensor>) -> Result<Tensor> {
    let gram = gram_of(y)?;
    let (values, vectors) = match factor {
        Some(factor) => eigen(&(factor.transpose() * gram * factor))?,
        None => eigen(&gram)?,
    };
    let width = values.len();
    let greatest = values[width - 1];
    let turn = Mat::from_fn(width, rank, |i, j| {
        let at = width - 1 - j;
        let value = values[at].max(LEAST_EIGENVALUE * greatest);
        if value > 0.0 { vectors[(i, at)] / value.sqrt() } else { vectors[(i, at)] }
    });
    let turn = if let Some(factor) = factor { factor * turn } else { turn };
    let turned = times(y, &turn)?;
    orthonormal(&turned, &signs(&turned, start)?)
}

/// The sign of each column.
fn signs(basis: &Tensor, start: Option<&Tensor>) -> Result<Vec<f64>> {
    let (_, rank) = basis.shape().rows_cols();
    let rows = basis.to_vec::<f32>()?;
    let mut sums = vec![0f32; rank];
    match start {
        Some(start) => {
            for (row, before) in rows.chunks(rank).zip(f32_of(start)?.to_vec::<f32>()?.chunks(rank)) {
                sums.iter_mut().zip(row.iter().zip(before)).for_each(|(sum, (a, b))| *sum += a * b);
            }
        }
        None => {
            for row in rows.chunks(rank) {
                sums.iter_mut()
                    .zip(row)
                    .for_each(|(most, x)| *most = if x.abs() > most.abs() { *x } else { *most });
            }
        }
    }
    Ok(sums.into_iter().map(|sum| if sum < 0.0 { -1.0 } else { 1.0 }).collect())
}

/// The share of the energy of `x`, the sum of its squares, that lies in the span of an orthonormal `basis` of its left (or
/// `right`) side; 1 of zeros. Waits for the result.
///
/// # Errors
/// Those of the products and of reading.
pub fn captured_energy(x: &Tensor, basis: &Tensor, right: bool) -> Result<f64> {
    let x = f32_of(x)?;
    let inside = x.matmul(&f32_of(basis)?, MatmulOptions { trans_a: !right, ..Default::default() })?;
    let one = |t: Result<Tensor>| Ok::<_, Error>(f64::from(t?.to_vec::<f32>()?[0]));
    let (inside, all) = (one(sum_squares(&inside))?, one(sum_squares(&x))?);
    Ok(if all == 0.0 { 1.0 } else { inside / all })
}
