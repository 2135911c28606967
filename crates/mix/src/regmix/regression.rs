use std::path::Path;

use gristmill_core::{Code, Control, Error, Result};
use rand::RngExt;
use rayon::prelude::*;

use crate::gbdt::{Gbdt, GbdtOptions};
use crate::matrix::solve_spd;
use crate::stats::{Agreement, mean_sd, quantile};
use crate::{Matrix, Runs, rng, runs, saved};

/// Which function of the mixture predicts a loss.
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
    /// Gradient-boosted trees; the one to use.
    Gbdt(GbdtOptions),
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
    predictor: Predictor,
    bags: Vec<Predictor>,
    report: FitReport,
}

const FORMAT: &str = "gristmill-mixture-model/1";

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Predictor {
    Linear(Vec<f64>),
    Gbdt(Gbdt),
}

impl MixtureModel {
    /// Fits the loss of `target` (a name, or a part of one that no other has) to the mixtures of `runs`.
    ///
    /// # Errors
    /// Fewer runs than domains; a domain whose weight is the same in all runs, or, for the linear kind without
    /// `l2`, a combination of others'; options out of range.
    pub fn fit(runs: &Runs, target: &str, options: &FitOptions, control: &Control) -> Result<Self> {
        let target = runs.target(target)?;
        let y = runs.losses().column(target);
        check(runs, options)?;
        let n = runs.len();
        let fit = |rows: &[usize]| {
            let values: Vec<f64> = rows.iter().map(|&i| y[i]).collect();
            Predictor::fit(&runs.weights().select(rows), &values, runs.domains(), &options.regressor, control)
        };

        let fold_of = folds(n, options);
        let outside = |fold: usize| (0..n).filter(|&i| fold_of[i] != fold).collect::<Vec<_>>();
        let bag = |b: usize| {
            let mut rng = rng::stream(options.seed, "bag", b as u64);
            (0..n).map(|_| rng.random_range(0..n)).collect::<Vec<_>>()
        };
        // One list for all fits, so that the threads have work until the end.
        let jobs: Vec<Vec<usize>> = std::iter::once((0..n).collect())
            .chain((0..options.folds).map(outside))
            .chain((0..options.bags).map(bag))
            .collect();
        let mut fitted = jobs.par_iter().map(|rows| fit(rows)).collect::<Result<Vec<_>>>()?.into_iter();
        let predictor = fitted.next().ok_or_else(|| Error::new(Code::Internal, "nothing was fitted"))?;
        let by_fold: Vec<Predictor> = fitted.by_ref().take(options.folds).collect();

        let mut predicted = vec![0.0; if by_fold.is_empty() { 0 } else { n }];
        for (fold, predictor) in by_fold.iter().enumerate() {
            let rows: Vec<usize> = (0..n).filter(|&i| fold_of[i] == fold).collect();
            for (&i, p) in rows.iter().zip(predictor.predict(&runs.weights().select(&rows))?) {
                predicted[i] = p;
            }
        }
        let report = FitReport {
            runs: n,
            fitted: Agreement::of(&predictor.predict(runs.weights())?, &y),
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

    /// The loss predicted for each mixture.
    pub fn predict(&self, mixtures: &Matrix) -> Result<Vec<f64>> {
        self.check_mixtures(mixtures)?;
        self.predict_raw(None, mixtures)
    }

    /// The loss predicted for each mixture, with its spread over the bags.
    pub fn estimate(&self, mixtures: &Matrix) -> Result<Vec<Estimate>> {
        let values = self.predict(mixtures)?;
        let bags =
            (0..self.bags()).map(|b| self.predict_raw(Some(b), mixtures)).collect::<Result<Vec<_>>>()?;
        let estimate =
            |(i, &value): (usize, &f64)| Estimate::new(value, bags.iter().map(|bag| bag[i]).collect());
        Ok(values.iter().enumerate().map(estimate).collect())
    }

    /// By the model of all runs, or by one bag, without checking that rows are mixtures.
    pub(crate) fn predict_raw(&self, bag: Option<usize>, mixtures: &Matrix) -> Result<Vec<f64>> {
        bag.map_or(&self.saved.predictor, |b| &self.saved.bags[b]).predict(mixtures)
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

impl Predictor {
    fn fit(
        x: &Matrix,
        y: &[f64],
        domains: &[String],
        regressor: &Regressor,
        control: &Control,
    ) -> Result<Self> {
        match regressor {
            Regressor::Gbdt(options) => Ok(Self::Gbdt(Gbdt::fit(x, y, options, control)?)),
            Regressor::Linear { l2 } => Ok(Self::Linear(linear(x, y, *l2, domains)?)),
        }
    }

    fn predict(&self, x: &Matrix) -> Result<Vec<f64>> {
        match self {
            Self::Gbdt(model) => model.predict(x),
            Self::Linear(beta) => {
                Ok(x.iter_rows().map(|row| row.iter().zip(beta).map(|(w, b)| w * b).sum()).collect())
            }
        }
    }

    fn features(&self) -> usize {
        match self {
            Self::Gbdt(model) => model.features(),
            Self::Linear(beta) => beta.len(),
        }
    }
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
            .at_column(&domains[j])
            .hint("add runs that vary it on its own, or set l2")
    })?;
    Ok(beta.into_iter().map(|b| b + mean).collect())
}

fn check(runs: &Runs, options: &FitOptions) -> Result<()> {
    let (n, k) = (runs.len(), runs.domains().len());
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
    if options.folds == 1 || options.folds > n {
        return Err(Error::invalid_argument("folds", format!("{} folds of {n} runs", options.folds)));
    }
    match options.regressor {
        Regressor::Linear { l2 } if !(l2 >= 0.0 && l2.is_finite()) => {
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
        let wide = |p: &Predictor| p.features() == k;
        if k == 0 || saved.ranges.len() != k || !wide(&saved.predictor) || !saved.bags.iter().all(wide) {
            return bad(format!("the parts of the model do not all have its {k} domains"));
        }
        Ok(Self { saved })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(prefix: &str, n: usize) -> Vec<String> {
        (0..n).map(|i| format!("{prefix}{i}")).collect()
    }

    /// Runs whose loss is `Σ w_i β_i` plus noise of this size.
    fn planted(n: usize, beta: &[f64], noise: f64) -> Runs {
        let mut rng = rng::stream(3, "test", 0);
        let dirichlet = rng::Dirichlet::new(beta.iter().map(|_| 0.7));
        let (mut weights, mut losses) = (Matrix::zeros(n, beta.len()), Matrix::zeros(n, 1));
        for i in 0..n {
            dirichlet.sample(&mut rng, weights.row_mut(i));
            let clean: f64 = weights.row(i).iter().zip(beta).map(|(w, b)| w * b).sum();
            losses.row_mut(i)[0] = clean + noise * rng.random_range(-1.0..1.0);
        }
        Runs::new(names("d", beta.len()), weights, names("t", 1), losses).unwrap()
    }

    fn linear_options() -> FitOptions {
        FitOptions { regressor: Regressor::Linear { l2: 0.0 }, ..Default::default() }
    }

    fn fit(runs: &Runs, options: &FitOptions) -> Result<MixtureModel> {
        MixtureModel::fit(runs, "t0", options, &Control::default())
    }

    #[test]
    fn linear_recovers_planted_losses_and_its_bags_cover_them() {
        let beta = [3.0, 2.0, 4.5, 1.0];
        let model = fit(&planted(200, &beta, 0.2), &linear_options()).unwrap();
        let corners = Matrix::from_rows(&[
            [1.0, 0.0, 0.0, 0.0],
            [0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0],
            [0.0, 0.0, 0.0, 1.0],
        ]);
        for (e, b) in model.estimate(&corners).unwrap().iter().zip(beta) {
            assert!((e.value - b).abs() < 0.06, "{e:?} {b}");
            assert!(e.sd > 0.005 && e.sd < 0.06 && e.low < e.value && e.value < e.high, "{e:?}");
        }
        let held = model.report().held_out.unwrap();
        assert!(held.r2 > 0.95 && held.rmse < 0.14 && held.rmse > 0.10, "noise of rmse 0.115: {held:?}");
    }

    #[test]
    fn l2_pulls_towards_the_mean() {
        let runs = planted(60, &[3.0, 1.0], 0.0);
        let strong = FitOptions { regressor: Regressor::Linear { l2: 1e9 }, bags: 0, folds: 0, seed: 0 };
        let mean = runs.losses().column(0).iter().sum::<f64>() / 60.0;
        let p = fit(&runs, &strong).unwrap().predict(&Matrix::from_rows(&[[1.0, 0.0]])).unwrap()[0];
        assert!((p - mean).abs() < 1e-4);
    }

    #[test]
    fn refuses_runs_that_cannot_teach() {
        let e = fit(&planted(3, &[1.0; 4], 0.0), &linear_options()).unwrap_err();
        assert_eq!(e.code(), Code::EmptyInput);
        let fixed = Runs::new(
            names("d", 3),
            Matrix::from_rows(&[[0.2, 0.3, 0.5], [0.2, 0.5, 0.3], [0.2, 0.4, 0.4], [0.2, 0.1, 0.7]]),
            names("t", 1),
            Matrix::from_rows(&[[1.0], [2.0], [3.0], [4.0]]),
        )
        .unwrap();
        let e = fit(&fixed, &FitOptions::default()).unwrap_err();
        assert_eq!((e.code(), e.location().column.as_deref()), (Code::InvalidValue, Some("d0")));
        let tied = Runs::new(
            names("d", 3),
            Matrix::from_rows(&[[0.2, 0.2, 0.6], [0.25, 0.25, 0.5], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4]]),
            names("t", 1),
            Matrix::from_rows(&[[1.0], [2.0], [3.0], [4.0]]),
        )
        .unwrap();
        let e = fit(&tied, &FitOptions { bags: 0, folds: 0, ..linear_options() }).unwrap_err();
        assert_eq!((e.code(), e.location().column.as_deref()), (Code::InvalidValue, Some("d1")));
        let good = planted(20, &[1.0, 2.0], 0.1);
        for folds in [1, 21] {
            let e = fit(&good, &FitOptions { folds, ..linear_options() }).unwrap_err();
            assert_eq!(e.location().column.as_deref(), Some("folds"));
        }
        let model = fit(&good, &linear_options()).unwrap();
        let e = model.predict(&Matrix::from_rows(&[[0.5, 0.5], [0.5, 0.6]])).unwrap_err();
        assert_eq!((e.code(), e.location().row), (Code::InvalidValue, Some(1)));
    }

    #[test]
    fn comes_back_from_its_file() {
        let runs = planted(80, &[1.0, 2.0, 3.0], 0.1);
        let options = FitOptions {
            regressor: Regressor::Gbdt(GbdtOptions { trees: 20, ..Default::default() }),
            bags: 2,
            ..Default::default()
        };
        let model = fit(&runs, &options).unwrap();
        let path = std::env::temp_dir().join(format!("gristmill-mix-model-{}.json", std::process::id()));
        model.save(&path).unwrap();
        assert!(MixtureModel::load(&path).unwrap() == model, "not the same bits");

        let text = std::fs::read_to_string(&path).unwrap();
        let reload = |text: &str| {
            std::fs::write(&path, text).unwrap();
            MixtureModel::load(&path).unwrap_err()
        };
        let wider = text.replace("\"d2\"],\"ranges\"", "\"d2\",\"d3\"],\"ranges\"");
        assert_ne!(wider, text);
        assert!(reload(&wider).message().contains("domains"));
        let e = reload(&text.replace(FORMAT, "x/9"));
        assert_eq!(e.code(), Code::InvalidModel);
        assert!(e.location().path.is_some() && e.message().contains("x/9"));
        assert_eq!(reload(&text[..text.len() / 2]).code(), Code::InvalidModel);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(MixtureModel::load(&path).unwrap_err().code(), Code::NotFound);
    }
}
