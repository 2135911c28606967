use std::borrow::Cow;

use gristmill_core::{Code, Control, Error, Result};

use super::experts::Experts;
use super::regression::Regressor;
use crate::Matrix;
use crate::gbdt::Gbdt;
use crate::matrix::solve_spd;

/// A fitted function of the features: the weights of a mixture, and the estimate of the experts where there are
/// some.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Predictor {
    Linear(Vec<f64>),
    /// The factors of the features, then those of the roots of the first of them.
    Concave {
        features: Vec<f64>,
        roots: Vec<f64>,
    },
    Gbdt(Gbdt),
    /// The last feature.
    Experts,
}

impl Predictor {
    pub(super) fn fit(
        x: &Matrix,
        y: &[f64],
        domains: &[String],
        regressor: &Regressor,
        control: &Control,
    ) -> Result<Self> {
        match regressor {
            Regressor::Gbdt(options) => Ok(Self::Gbdt(Gbdt::fit(x, y, options, control)?)),
            Regressor::Linear { l2 } => Ok(Self::Linear(linear(x, y, *l2, domains)?)),
            Regressor::Concave { l2 } => {
                let mut features = linear(&with_roots(x, domains.len())?, y, *l2, domains)?;
                let roots = features.split_off(x.columns());
                Ok(Self::Concave { features, roots })
            }
            Regressor::Experts => Ok(Self::Experts),
        }
    }

    pub(super) fn predict(&self, x: &Matrix) -> Result<Vec<f64>> {
        match self {
            Self::Gbdt(model) => model.predict(x),
            Self::Linear(beta) => {
                Ok(x.iter_rows().map(|row| row.iter().zip(beta).map(|(w, b)| w * b).sum()).collect())
            }
            Self::Concave { features, roots } => {
                let straight = |row: &[f64]| row.iter().zip(features).map(|(w, b)| w * b).sum::<f64>();
                let curved = |row: &[f64]| row.iter().zip(roots).map(|(w, c)| w.sqrt() * c).sum::<f64>();
                Ok(x.iter_rows().map(|row| straight(row) + curved(row)).collect())
            }
            Self::Experts => Ok(x.column(x.columns() - 1)),
        }
    }

    /// How many features it takes, if its parts fit together; those of the experts' own estimate are any number, the last of them theirs.
    pub(super) fn features(&self) -> Option<usize> {
        match self {
            Self::Gbdt(model) => Some(model.features()),
            Self::Linear(beta) => Some(beta.len()),
            Self::Concave { features, roots } => Some(features.len()).filter(|n| roots.len() <= *n),
            Self::Experts => None,
        }
    }
}

/// The features, and beside them the roots of the first `k`.
fn with_roots(x: &Matrix, k: usize) -> Result<Matrix> {
    let width = x.columns() + k;
    let row = |row: &[f64]| [row, &row[..k].iter().map(|w| w.sqrt()).collect::<Vec<_>>()].concat();
    Matrix::new(x.rows(), width, x.iter_rows().flat_map(row).collect())
}

pub(super) fn features<'a>(experts: Option<&Experts>, mixtures: &'a Matrix) -> Result<Cow<'a, Matrix>> {
    let Some(experts) = experts else { return Ok(Cow::Borrowed(mixtures)) };
    let mut data = Vec::with_capacity(mixtures.rows() * (mixtures.columns() + 1));
    for (row, loss) in mixtures.iter_rows().zip(experts.losses(mixtures)?) {
        data.extend_from_slice(row);
        data.push(loss);
    }
    Matrix::new(mixtures.rows(), mixtures.columns() + 1, data).map(Cow::Owned)
}

/// Least squares on the normal equations, around the mean so that `l2` pulls towards it.
fn linear(x: &Matrix, y: &[f64], l2: f64, domains: &[String]) -> Result<Vec<f64>> {
    let k = x.columns();
    let mean = y.iter().sum::<f64>() / y.len() as f64;
    let mut gram = Matrix::zeros(k, k);
    let mut right = vec![0.0; k];
    for (row, y) in x.iter_rows().zip(y) {
        for (i, wi) in row.iter().enumerate() {
            right[i] += wi * (y - mean);
            row.iter().zip(gram.row_mut(i)).for_each(|(wj, g)| *g += wi * wj);
        }
    }
    (0..k).for_each(|i| gram.row_mut(i)[i] += l2);
    let beta = solve_spd(gram, &right, 1e-10).map_err(|j| {
        Error::new(Code::InvalidValue, "the weights of this domain follow from those of the others")
            .at_column(domains.get(j).map_or("experts", String::as_str))
            .hint("add runs that vary it on its own, or set l2")
    })?;
    // The weights sum to one, so that the mean belongs to each of them, and to no further feature.
    Ok(beta.into_iter().enumerate().map(|(j, b)| if j < domains.len() { b + mean } else { b }).collect())
}
