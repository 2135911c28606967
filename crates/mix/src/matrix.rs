use gristmill_core::{Code, Error, Result};

/// A dense table of `f64`, row by row: one row per run, document or draw, one column per domain, target or
/// feature.
///
/// ```
/// let m = gristmill_mix::Matrix::from_rows(&[[0.25, 0.75], [0.5, 0.5]]);
/// assert_eq!((m.rows(), m.columns(), m.row(1)), (2, 2, &[0.5, 0.5][..]));
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    data: Vec<f64>,
}

impl Matrix {
    /// A matrix over `data`, which holds `rows * columns` numbers row by row.
    pub fn new(rows: usize, columns: usize, data: Vec<f64>) -> Result<Self> {
        if rows.checked_mul(columns) != Some(data.len()) {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("{} numbers cannot fill {rows} rows of {columns}", data.len()),
            ));
        }
        Ok(Self { rows, columns, data })
    }

    /// A matrix of zeros.
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self { rows, columns, data: vec![0.0; rows * columns] }
    }

    /// A matrix from rows of one fixed length.
    pub fn from_rows<const N: usize>(rows: &[[f64; N]]) -> Self {
        Self { rows: rows.len(), columns: N, data: rows.concat() }
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.data[i * self.columns..][..self.columns]
    }

    /// Row `i`, to write.
    pub fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.data[i * self.columns..][..self.columns]
    }

    /// The rows in order.
    pub fn iter_rows(&self) -> impl ExactSizeIterator<Item = &[f64]> + Clone {
        (0..self.rows).map(|i| self.row(i))
    }

    /// Column `j`, copied.
    pub fn column(&self, j: usize) -> Vec<f64> {
        self.data.iter().skip(j).step_by(self.columns.max(1)).copied().collect()
    }

    /// The rows of these numbers, in this order; a row may be named more than once.
    pub fn select(&self, rows: &[usize]) -> Self {
        let data = rows.iter().flat_map(|&i| self.row(i)).copied().collect();
        Self { rows: rows.len(), columns: self.columns, data }
    }

    /// All numbers, row by row.
    pub fn as_slice(&self) -> &[f64] {
        &self.data
    }

    /// All numbers, row by row, to write.
    pub fn as_mut_slice(&mut self) -> &mut [f64] {
        &mut self.data
    }
}

/// Solves `A x = b` for a symmetric positive definite `A` by Cholesky, or says at which column `A` is not.
///
/// `relative` is how far a pivot may fall below its diagonal entry before the column counts as a combination
/// of the ones before it.
pub(crate) fn solve_spd(mut a: Matrix, b: &[f64], relative: f64) -> std::result::Result<Vec<f64>, usize> {
    let n = a.rows;
    for j in 0..n {
        let diagonal = a.row(j)[j];
        let mut pivot = diagonal;
        for k in 0..j {
            pivot -= a.row(j)[k] * a.row(j)[k];
        }
        if pivot.is_nan() || pivot <= relative * diagonal.abs() {
            return Err(j);
        }
        let pivot = pivot.sqrt();
        for i in j + 1..n {
            let mut sum = a.row(i)[j];
            for k in 0..j {
                sum -= a.row(i)[k] * a.row(j)[k];
            }
            a.row_mut(i)[j] = sum / pivot;
        }
        a.row_mut(j)[j] = pivot;
    }
    let mut x = b.to_vec();
    for i in 0..n {
        for k in 0..i {
            x[i] -= a.row(i)[k] * x[k];
        }
        x[i] /= a.row(i)[i];
    }
    for i in (0..n).rev() {
        for k in i + 1..n {
            x[i] -= a.row(k)[i] * x[k];
        }
        x[i] /= a.row(i)[i];
    }
    Ok(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_and_names_the_dependent_column() {
        let a = Matrix::from_rows(&[[4.0, 2.0, 0.6], [2.0, 5.0, 1.0], [0.6, 1.0, 3.0]]);
        let x = solve_spd(a.clone(), &[1.0, 2.0, 3.0], 1e-12).unwrap();
        for (row, b) in a.iter_rows().zip([1.0, 2.0, 3.0]) {
            let got: f64 = row.iter().zip(&x).map(|(p, q)| p * q).sum();
            assert!((got - b).abs() < 1e-14);
        }
        let singular = Matrix::from_rows(&[[1.0, 1.0], [1.0, 1.0]]);
        assert_eq!(solve_spd(singular, &[1.0, 1.0], 1e-12), Err(1));
    }

    #[test]
    fn sizes_must_agree() {
        assert_eq!(Matrix::new(2, 3, vec![0.0; 5]).unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(Matrix::new(usize::MAX, 3, vec![]).unwrap_err().code(), Code::InvalidArgument);
    }
}
