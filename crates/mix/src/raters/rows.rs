//! Rows of numbered features, whatever holds them.

use std::ops::Range;

use gristmill_core::{Code, Error, Result};

/// Rows of features, each a list of numbered values; what is not in the list is zero.
pub trait Rows: Sync {
    /// How many rows.
    fn len(&self) -> usize;

    /// How many features; every number that [`for_each`](Self::for_each) gives is below it.
    fn features(&self) -> usize;

    /// Calls `f` with number and value of the features of row `row`. One that comes twice counts as the sum.
    fn for_each(&self, row: usize, f: impl FnMut(usize, f64));

    /// Whether there is no row.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The squared length of a row.
    fn square_norm(&self, row: usize) -> f64 {
        let mut sum = 0.0;
        self.for_each(row, |_, value| sum += value * value);
        sum
    }

    /// The product of a row with `weights`.
    fn dot(&self, row: usize, weights: &[f64]) -> f64 {
        let mut sum = 0.0;
        self.for_each(row, |feature, value| sum += weights[feature] * value);
        sum
    }

    /// Rows that are read together before others are, in turn: all of them where they lie in memory.
    fn blocks(&self) -> Vec<Range<usize>> {
        std::iter::once(0..self.len()).collect()
    }

    /// Says that a block has been read, and that the next rows to be read are of another.
    fn leave_block(&self) {}

    /// Says that a row will be read soon, so that its memory can be on its way.
    fn expect(&self, _row: usize) {}

    /// Adds a multiple of a row to `weights`.
    fn add(&self, row: usize, by: f64, weights: &mut [f64]) {
        self.for_each(row, |feature, value| weights[feature] += by * value);
    }
}

/// Rows in which every feature is stored, such as embeddings: `f32`, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    features: usize,
    data: Vec<f32>,
}

impl Dense {
    /// Rows of `features` numbers each, none of them yet.
    pub fn new(features: usize) -> Self {
        Self { features, data: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`Code::InvalidValue`] for another length than the rows before it, and for NaN and infinities.
    pub fn push(&mut self, row: &[f32]) -> Result<()> {
        if row.len() != self.features {
            let message = format!("an embedding of {} numbers among those of {}", row.len(), self.features);
            return Err(Error::new(Code::InvalidValue, message));
        }
        if let Some(at) = row.iter().position(|x| !x.is_finite()) {
            return Err(Error::new(
                Code::InvalidValue,
                format!("component {at} of the embedding is {}", row[at]),
            ));
        }
        self.data.extend_from_slice(row);
        Ok(())
    }
}

impl Rows for Dense {
    fn len(&self) -> usize {
        self.data.len().checked_div(self.features).unwrap_or(0)
    }

    fn features(&self) -> usize {
        self.features
    }

    fn for_each(&self, row: usize, mut f: impl FnMut(usize, f64)) {
        let row = &self.data[row * self.features..][..self.features];
        row.iter().enumerate().for_each(|(feature, value)| f(feature, f64::from(*value)));
    }
}

/// Differences of two rows each, as pairs of row numbers: row `k` is that of `pairs[k].0` minus that of
/// `pairs[k].1`.
#[derive(Debug, Clone)]
pub struct Differences<'a, R> {
    rows: &'a R,
    pairs: Vec<(usize, usize)>,
    norms: Vec<f64>,
}

impl<'a, R: Rows> Differences<'a, R> {
    /// The differences of these pairs. The squared length of each is worked out once, here.
    pub fn new(rows: &'a R, pairs: Vec<(usize, usize)>) -> Self {
        let mut sum = vec![0.0; rows.features()];
        let norm = |&(a, b): &(usize, usize)| {
            rows.for_each(a, |feature, value| sum[feature] += value);
            rows.for_each(b, |feature, value| sum[feature] -= value);
            let mut square = 0.0;
            for row in [a, b] {
                // What was taken is gone, so that a feature of both rows counts once.
                rows.for_each(row, |feature, _| {
                    let value = std::mem::take(&mut sum[feature]);
                    square += value * value;
                });
            }
            square
        };
        let norms = pairs.iter().map(norm).collect();
        Self { rows, pairs, norms }
    }
}

impl<R: Rows> Rows for Differences<'_, R> {
    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn features(&self) -> usize {
        self.rows.features()
    }

    fn for_each(&self, row: usize, mut f: impl FnMut(usize, f64)) {
        let (a, b) = self.pairs[row];
        self.rows.for_each(a, &mut f);
        self.rows.for_each(b, |feature, value| f(feature, -value));
    }

    fn square_norm(&self, row: usize) -> f64 {
        self.norms[row]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_that_of_its_rows() {
        let mut rows = Dense::new(3);
        rows.push(&[1.0, 2.0, 0.0]).unwrap();
        rows.push(&[1.0, -1.0, 4.0]).unwrap();
        let d = Differences::new(&rows, vec![(0, 1), (1, 0), (0, 0)]);
        assert_eq!([0, 1, 2].map(|k| d.square_norm(k)), [25.0, 25.0, 0.0]);
        assert_eq!([0, 1, 2].map(|k| d.dot(k, &[1.0, 10.0, 100.0])), [-370.0, 370.0, 0.0]);
    }

    #[test]
    fn an_embedding_has_one_length_and_numbers() {
        let mut rows = Dense::new(2);
        assert_eq!(rows.push(&[1.0]).unwrap_err().code(), Code::InvalidValue);
        let e = rows.push(&[1.0, f32::NAN]).unwrap_err();
        assert!(e.message().contains("component 1"), "{e}");
        assert!(rows.is_empty());
    }
}
