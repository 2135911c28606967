use std::ops::Range;

use crate::access::Indices;
use crate::number::Number;

/// Rows of a layer, and the samples that they belong to.
pub(super) struct Layer<'a, T> {
    pub(super) x: &'a [T],
    pub(super) dy: &'a [T],
    pub(super) offsets: Indices<'a>,
    pub(super) d: usize,
    pub(super) p: usize,
}

impl<T: Number> Layer<'_, T> {
    pub(super) fn samples(&self) -> usize {
        self.offsets.len() - 1
    }

    fn rows(&self, sample: usize) -> Range<usize> {
        self.offsets.at(sample) as usize..self.offsets.at(sample + 1) as usize
    }

    /// `dYᵀX` of a sample, `[p, d]`.
    pub(super) fn gradient(&self, sample: usize) -> Vec<f64> {
        let mut gradient = vec![0.0; self.p * self.d];
        for row in self.rows(sample) {
            for i in 0..self.p {
                for j in 0..self.d {
                    gradient[i * self.d + j] +=
                        self.dy[row * self.p + i].as_f64() * self.x[row * self.d + j].as_f64();
                }
            }
        }
        gradient
    }

    /// `Σ_t dY_t` of a sample, `[p]`.
    pub(super) fn bias(&self, sample: usize) -> Vec<f64> {
        let of_output =
            |i: usize| self.rows(sample).map(|row| self.dy[row * self.p + i].as_f64()).sum::<f64>();
        (0..self.p).map(of_output).collect()
    }

    /// The square of the norm of both.
    pub(super) fn squared_norm(&self, sample: usize, bias: bool) -> f64 {
        let squares = |gradient: Vec<f64>| gradient.iter().map(|g| g * g).sum::<f64>();
        squares(self.gradient(sample)) + if bias { squares(self.bias(sample)) } else { 0.0 }
    }
}

/// `sum += Σ_b factors[b] · part(b)`; a factor of 0 adds nothing, whatever the part is.
pub(super) fn add_scaled(sum: &mut [f32], factors: &[f32], part: impl Fn(usize) -> Vec<f64>) {
    let mut exact: Vec<f64> = sum.iter().map(|&x| x.into()).collect();
    for (sample, &factor) in factors.iter().enumerate().filter(|(_, factor)| **factor != 0.0) {
        for (sum, part) in exact.iter_mut().zip(part(sample)) {
            *sum += f64::from(factor) * part;
        }
    }
    for (sum, exact) in sum.iter_mut().zip(exact) {
        *sum = exact as f32;
    }
}
