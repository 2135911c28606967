use std::borrow::Cow;
use std::path::Path;

use gristmill_core::{Code, Control, Error, Result};
use rand::RngExt;
use rayon::prelude::*;

use super::experts::Experts;
use super::predictor::{Predictor, features};
use crate::gbdt::GbdtOptions;
use crate::stats::{Agreement, mean_sd, quantile};
use crate::{Matrix, Runs, rng, runs, saved};

/// Which function of the mixture predicts a loss. Where there are [`Experts`], their estimate is one more feature
/// beside the weights.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Regressor {
    /// `L = Σ_i w_i β_i`: since weights sum to one, an intercept is part of every `β_i`. Least squares, with
    /// `l2 Σ (β_i - mean loss)²` added to the squared error. A baseline: it ranks mixtures badly where domains
    /// interact, and its optimum is always a single domain.
    Linear {
        /// Default 0.
        #[serde(default)]
        l2: f64,
    },
    /// `L = Σ_i (w_i β_i + √w_i γ_i)`: as the linear kind, with room for the first tokens of a domain to lower the
    /// loss most. Smooth, so that its optimum lies between the runs, and good on few runs; `l2 Σ γ_i²` is added too.
    Concave {
        /// Default 1e-4.
        #[serde(default = "little")]
        l2: f64,
    },
    /// Gradient-boosted trees; the one to use on hundreds of runs without experts.
    Gbdt(GbdtOptions),
    /// The estimate of the experts as it is: nothing is fitted, the runs only say how far it is off.
    Experts,
}

fn little() -> f64 {
    1e-4
}

impl Default for Regressor {
    fn default() -> Self {
        Self::Gbdt(GbdtOptions::default())
    }
}

/// How [`MixtureModel::fit`] fits and checks itself.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FitOptions {
    /// Default: boosted trees with the published options.
    pub regressor: Regressor,
    /// How many more models are fitted to bootstrap samples of the runs, to show how far the result hangs on
    /// which runs there were; default 16, and 0 for none.
    pub bags: usize,
    /// How many folds the runs are split into to predict each run by a model that did not see it; default 5,
    /// and 0 for no such check.
    pub folds: usize,
    /// Decides folds and bootstrap samples; default 0.
    pub seed: u64,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self { regressor: Regressor::default(), bags: 16, folds: 5, seed: 0 }
    }
}

/// How a fit went.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FitReport {
    /// How many runs were fitted.
    pub runs: usize,
    /// On the runs that were fitted: always better than what to expect on others.
    pub fitted: Agreement,
    /// On each run by the model of the folds without it: what to expect of other mixtures like these.
    pub held_out: Option<Agreement>,
    /// The losses as measured, in the order of the runs.
    pub measured: Vec<f64>,
    /// What the models without it predict for each run; empty without folds.
    pub predicted: Vec<f64>,
}

/// A prediction with what the bootstrap says of it.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// By the model fitted to all runs.
    pub value: f64,
    /// Standard deviation over the bags; 0 without bags.
    pub sd: f64,
    /// The 5% quantile over the bags; `value` without bags.
    pub low: f64,
    /// The 95% quantile over the bags; `value` without bags.
    pub high: f64,
}

impl Estimate {
    pub(crate) fn new(value: f64, mut bags: Vec<f64>) -> Self {
        if bags.is_empty() {
            return Self { value, sd: 0.0, low: value, high: value };
        }
        bags.sort_by(f64::total_cmp);
        Self { value, sd: mean_sd(&bags).1, low: quantile(&bags, 0.05), high: quantile(&bags, 0.95) }
    }
}

/// The predicted loss of one target as a function of the mixture.
///
/// ```
/// use gristmill_core::Control;
/// use gristmill_mix::{FitOptions, Matrix, MixtureModel, Regressor, Runs};
///
/// // Losses that are exactly linear in the mixture: 2 for all web, 1 for all code.
/// let weights = Matrix::from_rows(&[[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]);
/// let losses = Matrix::from_rows(&[[1.9], [1.2], [1.5]]);
/// let runs = Runs::new(vec!["web".into(), "code".into()], weights, vec!["val".into()], losses)?;
/// let options = FitOptions { regressor: Regressor::Linear { l2: 0.0 }, bags: 0, folds: 0, seed: 0 };
/// let model = MixtureModel::fit(&runs, "val", &options, &Control::default())?;
/// let loss = model.predict(&Matrix::from_rows(&[[0.0, 1.0]]))?[0];
/// assert!((loss - 1.0).abs() < 1e-9);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct MixtureModel {
    saved: Saved,
}

/// The form in files.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Saved {
    format: String,
    target: String,
    domains: Vec<String>,
    ranges: Vec<[f64; 2]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    experts: Option<Experts>,
    predictor: Predictor,
    bags: Vec<Predictor>,
    report: FitReport,
}

const FORMAT: &str = "gristmill-mixture-model/1";

impl MixtureModel {
    /// Fits the loss of `target` (a name, or a part of one that no other has) to the mixtures of `runs`.
    ///
    /// # Errors
    /// Fewer runs than domains; a domain whose weight is the same in all runs, or, for the linear kind without
    /// `l2`, a combination of others'; options out of range.
    pub fn fit(runs: &Runs, target: &str, options: &FitOptions, control: &Control) -> Result<Self> {
        Self::fit_with(runs, target, None, options, control)
    }

    /// As [`fit`](Self::fit), with the estimate of `experts` as a further feature: on few runs it says what the
    /// weights alone would take many more to say.
    ///
    /// # Errors
    /// Those of [`fit`](Self::fit); experts of other domains than the runs, or none for [`Regressor::Experts`].
    pub fn fit_with(
        runs: &Runs,
        target: &str,
        experts: Option<&Experts>,
        options: &FitOptions,
        control: &Control,
    ) -> Result<Self> {
        let target = runs.target(target)?;
        let y = runs.losses().column(target);
        check(runs, experts, options)?;
        let n = runs.len();
        let x = &*features(experts, runs.weights())?;
        let fit = |rows: &[usize]| {
            let values: Vec<f64> = rows.iter().map(|&i| y[i]).collect();
            Predictor::fit(&x.select(rows), &values, runs.domains(), &options.regressor, control)
        };

        let fold_of = folds(n, options);
        let outside = |fold: usize| (0..n).filter(|&i| fold_of[i] != fold).collect::<Vec<_>>();
        let bag = |b: usize| {
            let mut rng = rng::stream(options.seed, "bag", b as u64);
            (0..n).map(|_| rng.random_range(0..n)).collect::<Vec<_>>()
        };
        // One list for all fits, so that the threads have work until the end.
        let bags = if options.regressor == Regressor::Experts { 0 } else { options.bags };
        let jobs: Vec<Vec<usize>> = std::iter::once((0..n).collect())
            .chain((0..options.folds).map(outside))
            .chain((0..bags).map(bag))
            .collect();
        let mut fitted = jobs.par_iter().map(|rows| fit(rows)).collect::<Result<Vec<_>>>()?.into_iter();
        let predictor = fitted.next().ok_or_else(|| Error::new(Code::Internal, "nothing was fitted"))?;
        let by_fold: Vec<Predictor> = fitted.by_ref().take(options.folds).collect();

        let mut predicted = vec![0.0; if by_fold.is_empty() { 0 } else { n }];
        for (fold, predictor) in by_fold.iter().enumerate() {
            let rows: Vec<usize> = (0..n).filter(|&i| fold_of[i] == fold).collect();
            for (&i, p) in rows.iter().zip(predictor.predict(&x.select(&rows))?) {
                predicted[i] = p;
            }
        }
        let report = FitReport {
            runs: n,
            fitted: Agreement::of(&predictor.predict(x)?, &y),
            held_out: (!predicted.is_empty()).then(|| Agreement::of(&predicted, &y)),
            measured: y,
            predicted,
        };
        let ranges = (0..runs.domains().len()).map(|j| {
            let column = runs.weights().column(j);
            [column.iter().copied().fold(f64::INFINITY, f64::min), column.iter().copied().fold(0.0, f64::max)]
        });
        Ok(Self {
            saved: Saved {
                format: FORMAT.into(),
                target: runs.targets()[target].clone(),
                domains: runs.domains().to_vec(),
                ranges: ranges.collect(),
                experts: experts.cloned(),
                predictor,
                bags: fitted.collect(),
                report,
            },
        })
    }

    /// Writes the model to a JSON file, from which it comes back bit for bit.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        saved::save(self, path.as_ref())
    }

    /// Reads a model that [`save`](Self::save) wrote.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        saved::load(path.as_ref())
    }

    /// The target whose loss is predicted.
    pub fn target(&self) -> &str {
        &self.saved.target
    }

    /// The domains, in the order of the weights of a mixture.
    pub fn domains(&self) -> &[String] {
        &self.saved.domains
    }

    /// The least and the greatest weight of each domain among the fitted runs; outside of it a prediction is
    /// an extrapolation.
    pub fn ranges(&self) -> &[[f64; 2]] {
        &self.saved.ranges
    }

    /// How many bootstrap models there are.
    pub fn bags(&self) -> usize {
        self.saved.bags.len()
    }

    /// How the fit went.
    pub fn report(&self) -> &FitReport {
        &self.saved.report
    }

    /// The experts whose estimate is a feature, where there are some.
    pub fn experts(&self) -> Option<&Experts> {
        self.saved.experts.as_ref()
    }

    /// The loss predicted for each mixture.
    pub fn predict(&self, mixtures: &Matrix) -> Result<Vec<f64>> {
        self.check_mixtures(mixtures)?;
        self.predict_raw(None, &*self.features(mixtures)?)
    }

    /// The loss predicted for each mixture, with its spread over the bags.
    pub fn estimate(&self, mixtures: &Matrix) -> Result<Vec<Estimate>> {
        self.check_mixtures(mixtures)?;
        let x = &*self.features(mixtures)?;
        let values = self.predict_raw(None, x)?;
        let bags = (0..self.bags()).map(|b| self.predict_raw(Some(b), x)).collect::<Result<Vec<_>>>()?;
        let estimate =
            |(i, &value): (usize, &f64)| Estimate::new(value, bags.iter().map(|bag| bag[i]).collect());
        Ok(values.iter().enumerate().map(estimate).collect())
    }

    /// What predictors take: the weights, and the estimate of the experts where there are some.
    pub(crate) fn features<'a>(&self, mixtures: &'a Matrix) -> Result<Cow<'a, Matrix>> {
        features(self.experts(), mixtures)
    }

    /// By the model of all runs, or by one bag, from [`features`](Self::features) of what need be no mixtures.
    pub(crate) fn predict_raw(&self, bag: Option<usize>, features: &Matrix) -> Result<Vec<f64>> {
        bag.map_or(&self.saved.predictor, |b| &self.saved.bags[b]).predict(features)
    }

    fn check_mixtures(&self, mixtures: &Matrix) -> Result<()> {
        if mixtures.columns() != self.domains().len() {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("{} weights for {} domains", mixtures.columns(), self.domains().len()),
            ));
        }
        for (i, row) in mixtures.iter_rows().enumerate() {
            runs::check_mixture(row, self.domains()).map_err(|e| e.at_row(i as u64))?;
        }
        Ok(())
    }
}

fn check(runs: &Runs, experts: Option<&Experts>, options: &FitOptions) -> Result<()> {
    let (n, k) = (runs.len(), runs.domains().len());
    match experts {
        Some(experts) if experts.domains() != runs.domains() => {
            return Err(Error::invalid_argument(
                "experts",
                "are not of the domains of the runs, in their order",
            ));
        }
        None if options.regressor == Regressor::Experts => {
            return Err(Error::invalid_argument("regressor", "there are no experts to ask"));
        }
        _ => {}
    }
    let folds = match options.folds == 1 || options.folds > n {
        true => Err(Error::invalid_argument("folds", format!("{} folds of {n} runs", options.folds))),
        false => Ok(()),
    };
    if options.regressor == Regressor::Experts {
        return folds;
    }
    if n < k {
        return Err(Error::new(Code::EmptyInput, format!("{n} runs cannot tell {k} domains apart"))
            .hint("at least as many runs as domains, better eight times as many"));
    }
    for (j, name) in runs.domains().iter().enumerate() {
        let first = runs.weights().row(0)[j];
        if k > 1 && runs.weights().iter_rows().all(|row| row[j] == first) {
            return Err(Error::new(Code::InvalidValue, format!("its weight is {first} in all runs"))
                .at_column(name)
                .hint("nothing can be learnt about this domain: vary it, or leave its column out"));
        }
    }
    folds?;
    match options.regressor {
        Regressor::Linear { l2 } | Regressor::Concave { l2 } if !(l2 >= 0.0 && l2.is_finite()) => {
            Err(Error::invalid_argument("l2", "must not be negative"))
        }
        _ => Ok(()),
    }
}

/// The fold of each run: sizes differ by at most one.
fn folds(n: usize, options: &FitOptions) -> Vec<usize> {
    let mut fold = vec![0; n];
    if options.folds > 0 {
        let order = rng::choose(&mut rng::stream(options.seed, "folds", 0), n, n);
        order.into_iter().enumerate().for_each(|(place, i)| fold[i] = place % options.folds);
    }
    fold
}

impl From<MixtureModel> for Saved {
    fn from(model: MixtureModel) -> Self {
        model.saved
    }
}

impl TryFrom<Saved> for MixtureModel {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        let bad = |why: String| Err(Error::new(Code::InvalidModel, why));
        if saved.format != FORMAT {
            return bad(format!("a file of format {:?}, expected {FORMAT:?}", saved.format));
        }
        let k = saved.domains.len();
        let width = k + usize::from(saved.experts.is_some());
        let wide = |p: &Predictor| match (p, p.features()) {
            (Predictor::Experts, _) => saved.experts.is_some(),
            (_, features) => features == Some(width),
        };
        if saved.experts.as_ref().is_some_and(|experts| experts.domains() != saved.domains) {
            return bad("the experts of the model are of other domains".into());
        }
        if k == 0 || saved.ranges.len() != k || !wide(&saved.predictor) || !saved.bags.iter().all(wide) {
            return bad(format!("the parts of the model do not all have its {k} domains"));
        }
        Ok(Self { saved })
    }
}

#[cfg(test)]
mod tests;
