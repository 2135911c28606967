use faer::Mat;
use gristmill_core::ops::{Draw, MatmulOptions};
use gristmill_core::{Code, Error, Result, Tensor};

use super::exact::{eigenvectors, to_device};
use super::{f32_of, orthonormalize, sum_squares};

/// How [`range_find`] works.
#[derive(Debug, Clone)]
pub struct RangeOptions {
    /// Dimensions of the subspace; at most the smaller side of the matrix.
    pub rank: usize,
    /// Random directions beyond the rank; 8 by default. Those that capture least are dropped in the end.
    pub oversample: usize,
    /// Passes of the power iteration; 2 by default. A start from another basis is itself half a pass.
    pub power: usize,
    /// A basis to start from instead of random directions, `[side, rank]`: with no power pass of its own it costs two
    /// products of the matrix.
    pub start: Option<Tensor>,
    /// Whether the basis is of the right side; of the left by default.
    pub right: bool,
    /// Whether the basis is turned to singular vectors, as a decomposition would give them; so by default.
    pub align: bool,
    /// What random directions are drawn with.
    pub seed: u64,
}

impl RangeOptions {
    /// The defaults, for this rank.
    pub fn new(rank: usize) -> Self {
        Self { rank, oversample: 8, power: 2, start: None, right: false, align: true, seed: 0 }
    }
}

/// An orthonormal basis that captures most of the energy of `x` that as many dimensions can: `[rows, rank]`, or with
/// `right` `[columns, rank]`, `f32` (Halko, Martinsson and Tropp 2011, algorithms 4.3 and 5.3, with CholeskyQR2 for QR).
///
/// With `g` the matrix or its transpose, as the side asks: `Y = g Ω`, then `Y ← g (gᵀ Y)` for every power pass, or
/// `Y = g (gᵀ P)` for a start from `P`; an orthonormal basis of it; and with `align` (or more directions than the rank)
/// its rotation to the eigenvectors of `(Qᵀ g)(Qᵀ g)ᵀ`, of which those of the greatest eigenvalues stay. Signs are such
/// that the greatest component of a vector is positive, or, from a start, that it agrees with what it was.
///
/// # Errors
/// [`Code::ShapeMismatch`], [`Code::InvalidArgument`] for a rank of 0 or beyond the smaller side,
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
    let x = &f32_of(x)?;
    // Products of the matrix, or its transpose, from this side to the other, and back.
    let forth = |y: &Tensor| x.matmul(y, MatmulOptions { trans_a: !right, ..Default::default() });
    let back = |y: &Tensor| x.matmul(y, MatmulOptions { trans_a: right, ..Default::default() });
    let sketch = match &options.start {
        Some(start) => {
            if **start.shape() != [side, rank] {
                return Err(Error::new(
                    Code::ShapeMismatch,
                    format!("expected [{side}, {rank}], given {}", start.shape()),
                )
                .at_column("start"));
            }
            back(&forth(&f32_of(start)?)?)?
        }
        None => {
            let width = (rank + options.oversample).min(side.min(other));
            back(&x.device().philox([other, width], Draw::Normal, options.seed, 0, 0)?)?
        }
    };
    let mut basis = orthonormalize(&sketch)?;
    for _ in 0..options.power {
        basis = orthonormalize(&back(&forth(&basis)?)?)?;
    }
    let width = basis.shape()[1];
    if width == rank && !options.align {
        return Ok(basis);
    }
    let inner = forth(&basis)?;
    let gram =
        inner.matmul(&inner, MatmulOptions { trans_a: true, ..Default::default() })?.to_vec::<f32>()?;
    let gram = Mat::from_fn(width, width, |i, j| f64::from(gram[i * width + j]));
    let vectors = eigenvectors(&gram)?;
    let turn = to_device(x.device(), width, rank, |i, j| vectors[(i, width - 1 - j)])?;
    let turned = basis.matmul(&turn, MatmulOptions::default())?;
    let signs = signs(&turned, options.start.as_ref())?;
    if signs.iter().all(|&sign| sign) {
        return Ok(turned);
    }
    let turn = turn.to_vec::<f32>()?;
    let turn =
        to_device_as_is(
            x,
            width,
            rank,
            |i, j| if signs[j] { turn[i * rank + j] } else { -turn[i * rank + j] },
        )?;
    basis.matmul(&turn, MatmulOptions::default())
}

fn to_device_as_is(
    x: &Tensor,
    rows: usize,
    columns: usize,
    entry: impl Fn(usize, usize) -> f32,
) -> Result<Tensor> {
    x.device().tensor((0..rows * columns).map(|i| entry(i / columns, i % columns)).collect(), [rows, columns])
}

/// Whether each column keeps its sign.
fn signs(basis: &Tensor, start: Option<&Tensor>) -> Result<Vec<bool>> {
    let (rows, rank) = basis.shape().rows_cols();
    let values = basis.to_vec::<f32>()?;
    let before = start.map(|start| f32_of(start)?.to_vec::<f32>()).transpose()?;
    Ok((0..rank)
        .map(|j| match &before {
            Some(before) => {
                let dot: f64 = (0..rows)
                    .map(|i| f64::from(values[i * rank + j]) * f64::from(before[i * rank + j]))
                    .sum();
                dot >= 0.0
            }
            None => {
                let greatest = (0..rows)
                    .map(|i| values[i * rank + j])
                    .fold(0f32, |a, x| if x.abs() > a.abs() { x } else { a });
                greatest >= 0.0
            }
        })
        .collect())
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
