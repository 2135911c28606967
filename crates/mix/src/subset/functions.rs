use gristmill_core::{Code, Error, Result};

use super::similarity::{Column, Similarity};
use crate::Matrix;

/// A set function with diminishing returns, and the set chosen so far.
pub trait SubmodularFunction: Sync {
    /// How many items there are to choose from.
    fn len(&self) -> usize;

    /// Whether there is nothing to choose from.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// By how much item `j` would raise the value; minus infinity when it must not be chosen any more. Never
    /// rises as items are added.
    fn gain(&self, j: usize) -> f64;

    /// Adds item `j` to the set.
    fn add(&mut self, j: usize);

    /// The value of the set.
    fn value(&self) -> f64;
}

/// `f(S) = Σ_i max(0, max_{j ∈ S} s_ij)`: how well every point is represented by the chosen one most like it.
///
/// A point that is like none of them counts as 0, so that negative similarities neither help nor hurt.
pub struct FacilityLocation<'a> {
    similarity: &'a Similarity,
    covered: Vec<f32>,
}

impl<'a> FacilityLocation<'a> {
    /// The empty set.
    pub fn new(similarity: &'a Similarity) -> Self {
        Self { similarity, covered: vec![0.0; similarity.len()] }
    }
}

impl SubmodularFunction for FacilityLocation<'_> {
    fn len(&self) -> usize {
        self.similarity.len()
    }

    fn gain(&self, j: usize) -> f64 {
        match self.similarity.column(j) {
            Column::Dense(values) => {
                // Independent sums, which the compiler keeps in vector registers; the order is always the same.
                const LANES: usize = 16;
                let mut sums = [0.0f64; LANES];
                let (values, value_rest) = values.as_chunks::<LANES>();
                let (covered, covered_rest) = self.covered.as_chunks::<LANES>();
                for (v, c) in values.iter().zip(covered) {
                    for (sum, (v, c)) in sums.iter_mut().zip(v.iter().zip(c)) {
                        *sum += f64::from((v - c).max(0.0));
                    }
                }
                let rest = value_rest.iter().zip(covered_rest).map(|(v, c)| f64::from((v - c).max(0.0)));
                sums.iter().sum::<f64>() + rest.sum::<f64>()
            }
            Column::Sparse(points, values) => {
                let part = |(i, v): (&u32, &f32)| f64::from((v - self.covered[*i as usize]).max(0.0));
                points.iter().zip(values).map(part).sum()
            }
        }
    }

    fn add(&mut self, j: usize) {
        match self.similarity.column(j) {
            Column::Dense(values) => {
                self.covered.iter_mut().zip(values).for_each(|(c, v)| *c = if *v > *c { *v } else { *c });
            }
            Column::Sparse(points, values) => {
                let each = points.iter().zip(values);
                each.for_each(|(&i, v)| self.covered[i as usize] = self.covered[i as usize].max(*v));
            }
        }
    }

    fn value(&self) -> f64 {
        self.covered.iter().map(|&c| f64::from(c)).sum()
    }
}

/// `f(S) = lambda Σ_{i ∈ V} Σ_{j ∈ S} s_ij - Σ_{i, j ∈ S} s_ij`: alike to everything, unlike each other. Gains
/// may become negative, and the value fall; with `lambda` of at least 2 and no negative similarity they do not.
pub struct GraphCut<'a> {
    similarity: &'a Similarity,
    /// `lambda Σ_i s_ij - s_jj - 2 Σ_{i ∈ S} s_ij` for each `j`.
    gains: Vec<f64>,
    value: f64,
}

impl<'a> GraphCut<'a> {
    /// The empty set.
    ///
    /// # Errors
    /// A `lambda` that is negative or not finite.
    pub fn new(similarity: &'a Similarity, lambda: f64) -> Result<Self> {
        if !(lambda.is_finite() && lambda >= 0.0) {
            return Err(Error::invalid_argument("lambda", "must be finite and not negative"));
        }
        let n = similarity.len();
        let gains = (0..n).map(|j| {
            let mut sum = 0.0;
            similarity.column(j).each(|_, v| sum += f64::from(v));
            lambda * sum - f64::from(similarity.get(j, j))
        });
        Ok(Self { similarity, gains: gains.collect(), value: 0.0 })
    }
}

impl SubmodularFunction for GraphCut<'_> {
    fn len(&self) -> usize {
        self.gains.len()
    }

    fn gain(&self, j: usize) -> f64 {
        self.gains[j]
    }

    fn add(&mut self, j: usize) {
        self.value += self.gains[j];
        // Both directions of a pair, which differ only where neighbours were cut off.
        for i in 0..self.gains.len() {
            let pair = f64::from(self.similarity.get(i, j)) + f64::from(self.similarity.get(j, i));
            self.gains[i] -= pair;
        }
    }

    fn value(&self) -> f64 {
        self.value
    }
}

/// `f(S) = ln det(K_S + ridge I)`: the volume that the chosen points span, by the incremental Cholesky
/// decomposition of Chen et al., "Fast Greedy MAP Inference for Determinantal Point Process", 2018. The
/// similarity must be positive semidefinite, as cosine and RBF are.
pub struct LogDeterminant<'a> {
    similarity: &'a Similarity,
    /// What is left of each diagonal entry.
    left: Vec<f64>,
    /// The rows of the factor, one per chosen item, each over all items.
    factor: Vec<Vec<f64>>,
    ridge: f64,
    value: f64,
}

impl<'a> LogDeterminant<'a> {
    /// The empty set. With a `ridge` of 0 no more items can be chosen than the rank of the similarity.
    ///
    /// # Errors
    /// A ridge that is negative or not finite.
    pub fn new(similarity: &'a Similarity, ridge: f64) -> Result<Self> {
        if !(ridge.is_finite() && ridge >= 0.0) {
            return Err(Error::invalid_argument("ridge", "must be finite and not negative"));
        }
        let left = (0..similarity.len()).map(|j| f64::from(similarity.get(j, j)) + ridge).collect();
        Ok(Self { similarity, left, factor: Vec::new(), ridge, value: 0.0 })
    }
}

impl SubmodularFunction for LogDeterminant<'_> {
    fn len(&self) -> usize {
        self.left.len()
    }

    fn gain(&self, j: usize) -> f64 {
        // Single precision leaves nothing below this to be told from rounding.
        if self.left[j] > 1e-6 { self.left[j].ln() } else { f64::NEG_INFINITY }
    }

    fn add(&mut self, j: usize) {
        let pivot = self.left[j].sqrt();
        self.value += self.left[j].ln();
        let mut row: Vec<f64> = (0..self.left.len()).map(|i| f64::from(self.similarity.get(i, j))).collect();
        row[j] += self.ridge;
        for previous in &self.factor {
            let factor = previous[j];
            row.iter_mut().zip(previous).for_each(|(r, p)| *r -= factor * p);
        }
        for (r, left) in row.iter_mut().zip(&mut self.left) {
            *r /= pivot;
            *left -= *r * *r;
        }
        self.left[j] = 0.0;
        self.factor.push(row);
    }

    fn value(&self) -> f64 {
        self.value
    }
}

/// The concave function of [`FeatureBased`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Concave {
    /// `√x`.
    Sqrt,
    /// `ln(1 + x)`.
    Log,
    /// `x / (1 + x)`.
    Sigmoid,
}

impl Concave {
    fn of(self, x: f64) -> f64 {
        match self {
            Self::Sqrt => x.sqrt(),
            Self::Log => x.ln_1p(),
            Self::Sigmoid => x / (1.0 + x),
        }
    }
}

/// `f(S) = Σ_d g(Σ_{j ∈ S} x_jd)` for features that are not negative, such as counts: every feature should be
/// there, and more of the same counts less. Needs no similarities.
pub struct FeatureBased<'a> {
    features: &'a Matrix,
    concave: Concave,
    sums: Vec<f64>,
    value: f64,
}

impl<'a> FeatureBased<'a> {
    /// The empty set.
    ///
    /// # Errors
    /// No features, or one that is negative or not finite.
    pub fn new(features: &'a Matrix, concave: Concave) -> Result<Self> {
        if features.as_slice().is_empty() {
            return Err(Error::new(Code::EmptyInput, "no features"));
        }
        if let Some(at) = features.as_slice().iter().position(|x| !(x.is_finite() && *x >= 0.0)) {
            let row = (at / features.columns()) as u64;
            return Err(Error::new(Code::InvalidValue, format!("a feature of {}", features.as_slice()[at]))
                .at_row(row));
        }
        Ok(Self { features, concave, sums: vec![0.0; features.columns()], value: 0.0 })
    }

    fn total(&self, row: &[f64]) -> f64 {
        self.sums.iter().zip(row).map(|(sum, x)| self.concave.of(sum + x)).sum()
    }
}

impl SubmodularFunction for FeatureBased<'_> {
    fn len(&self) -> usize {
        self.features.rows()
    }

    fn gain(&self, j: usize) -> f64 {
        self.total(self.features.row(j)) - self.value
    }

    fn add(&mut self, j: usize) {
        self.value = self.total(self.features.row(j));
        self.sums.iter_mut().zip(self.features.row(j)).for_each(|(sum, x)| *sum += x);
    }

    fn value(&self) -> f64 {
        self.value
    }
}
