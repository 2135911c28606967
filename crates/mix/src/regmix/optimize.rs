use std::borrow::Cow;

use gristmill_core::{Control, Error, Result};
use rayon::prelude::*;

use super::regression::{Estimate, MixtureModel};
use crate::rng::{self, Dirichlet};
use crate::{Matrix, runs};

/// One loss to lower, and how much it counts.
#[derive(Debug, Clone, Copy)]
pub struct Objective<'a> {
    /// The model of the loss.
    pub model: &'a MixtureModel,
    /// Its factor in the sum that is minimised; positive.
    pub weight: f64,
}

/// How [`optimize_mixture`] searches. The defaults are those published with RegMix.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OptimizeOptions {
    /// How many mixtures are drawn; default 100,000.
    pub draws: usize,
    /// The result is the mean of this many best ones; default 128.
    pub best: usize,
    /// Mixtures are drawn from Dirichlet(`prior * strength`); default 1. Small values search the corners,
    /// large ones the neighbourhood of the prior.
    pub strength: f64,
    /// The most that each domain may have, such as its tokens times the epochs allowed over the budget.
    pub max_weights: Option<Vec<f64>>,
    /// Whether a draw above `max_weights` is cut to them, and what is cut off goes to the other domains in proportion,
    /// instead of the draw being dropped: optima lie at the bounds, and with tight ones hardly a draw obeys. Default
    /// false.
    pub clip: bool,
    /// Default 0.
    pub seed: u64,
}

impl Default for OptimizeOptions {
    fn default() -> Self {
        Self { draws: 100_000, best: 128, strength: 1.0, max_weights: None, clip: false, seed: 0 }
    }
}

/// The weight of one domain at the optimum.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DomainOptimum {
    /// The domain.
    pub domain: String,
    /// Its share in the prior.
    pub prior: f64,
    /// Its share at the optimum, with the spread of the optima that the bags find on the same draws.
    pub weight: Estimate,
    /// Standard deviation among the best draws: how flat the predicted loss is along this domain.
    pub flatness: f64,
    /// Whether the optimum lies outside of the weights that the fitted runs had.
    pub extrapolated: bool,
}

/// What [`optimize_mixture`] found.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Optimum {
    /// The mixture, domain by domain.
    pub domains: Vec<DomainOptimum>,
    /// The predicted objective there.
    pub predicted: Estimate,
    /// The predicted objective at the prior.
    pub at_prior: Estimate,
    /// At the prior minus at the optimum, taken bag by bag: when `low` is above 0, the runs agree that the
    /// optimum is better.
    pub gain: Estimate,
    /// How many draws obeyed `max_weights`.
    pub admissible: usize,
}

impl Optimum {
    /// The weights alone.
    pub fn weights(&self) -> Vec<f64> {
        self.domains.iter().map(|d| d.weight.value).collect()
    }
}

/// Searches the mixture with the lowest predicted loss, as RegMix does: draws Dirichlet mixtures around the
/// prior, ranks them by the predicted objective `Σ weight · loss`, and returns the mean of the best ones, which
/// is steadier than the single best draw of a piecewise constant predictor.
///
/// When all models have bags, every bag searches the same draws as well, and the result says how far its
/// optima and predictions differ. Ties go to the earlier draw. The same seed gives the same result.
///
/// ```
/// # use gristmill_core::Control;
/// # use gristmill_mix::{FitOptions, Matrix, MixtureModel, Regressor, Runs};
/// use gristmill_mix::{Objective, OptimizeOptions, optimize_mixture};
/// # let weights = Matrix::from_rows(&[[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]);
/// # let losses = Matrix::from_rows(&[[1.9], [1.2], [1.5]]);
/// # let runs = Runs::new(vec!["web".into(), "code".into()], weights, vec!["val".into()], losses)?;
/// # let options = FitOptions { regressor: Regressor::Linear { l2: 0.0 }, bags: 0, folds: 0, seed: 0 };
/// # let model = MixtureModel::fit(&runs, "val", &options, &Control::default())?;
/// let objective = [Objective { model: &model, weight: 1.0 }];
/// let options = OptimizeOptions { max_weights: Some(vec![1.0, 0.7]), ..Default::default() };
/// let optimum = optimize_mixture(&objective, &[0.5, 0.5], &options, &Control::default())?;
/// assert!(optimum.domains[1].weight.value > 0.69, "as much code as allowed");
/// # Ok::<(), gristmill_core::Error>(())
/// ```
///
/// # Errors
/// No objective, models of different domains, a prior that is no mixture, options out of range, or bounds that
/// no draw obeys.
pub fn optimize_mixture(
    objectives: &[Objective<'_>],
    prior: &[f64],
    options: &OptimizeOptions,
    control: &Control,
) -> Result<Optimum> {
    let domains = check(objectives, prior, options)?;
    control.check()?;
    let mixtures = draw(prior, options);
    if mixtures.rows() < options.best {
        return Err(Error::invalid_argument(
            "maxWeights",
            format!(
                "only {} of {} draws obey it, {} are to be averaged",
                mixtures.rows(),
                options.draws,
                options.best
            ),
        )
        .hint("loosen the bounds, raise draws or strength, or move the prior inside the bounds"));
    }
    // Features once for all bags.
    let features = |rows| objectives.iter().map(|o| o.model.features(rows)).collect::<Result<Vec<_>>>();
    let objective = |bag: Option<usize>, features: &[Cow<'_, Matrix>]| -> Result<Vec<f64>> {
        let mut sum = vec![0.0; features[0].rows()];
        for (o, x) in objectives.iter().zip(features) {
            let predicted = o.model.predict_raw(bag, x)?;
            sum.iter_mut().zip(predicted).for_each(|(s, p)| *s += o.weight * p);
        }
        Ok(sum)
    };
    let of_draws = features(&mixtures)?;
    let search = |bag: Option<usize>| -> Result<Vec<usize>> {
        control.check()?;
        Ok(lowest(&objective(bag, &of_draws)?, options.best))
    };

    let best = search(None)?;
    let optimum = mean_row(&mixtures, &best);
    let bags = objectives.iter().map(|o| o.model.bags()).min().unwrap_or(0);
    let found =
        (0..bags).map(|b| Ok(mean_row(&mixtures, &search(Some(b))?))).collect::<Result<Vec<Vec<f64>>>>()?;

    let ends = Matrix::new(2, prior.len(), [&optimum[..], prior].concat())?;
    let ends = features(&ends)?;
    let here = objective(None, &ends)?;
    let by_bag = (0..bags).map(|b| objective(Some(b), &ends)).collect::<Result<Vec<_>>>()?;
    let estimate =
        |of: fn(&[f64]) -> f64| Estimate::new(of(&here), by_bag.iter().map(|bag| of(bag)).collect());

    let domain = |(j, name): (usize, &String)| {
        let column: Vec<f64> = best.iter().map(|&i| mixtures.row(i)[j]).collect();
        let inside = |o: &Objective<'_>| {
            let [low, high] = o.model.ranges()[j];
            (low..=high).contains(&optimum[j])
        };
        DomainOptimum {
            domain: name.clone(),
            prior: prior[j],
            weight: Estimate::new(optimum[j], found.iter().map(|bag| bag[j]).collect()),
            flatness: crate::stats::mean_sd(&column).1,
            extrapolated: !objectives.iter().all(inside),
        }
    };
    Ok(Optimum {
        domains: domains.iter().enumerate().map(domain).collect(),
        predicted: estimate(|ends| ends[0]),
        at_prior: estimate(|ends| ends[1]),
        gain: estimate(|ends| ends[1] - ends[0]),
        admissible: mixtures.rows(),
    })
}

fn check<'a>(objectives: &[Objective<'a>], prior: &[f64], options: &OptimizeOptions) -> Result<&'a [String]> {
    let Some(first) = objectives.first() else {
        return Err(Error::invalid_argument("objectives", "there is none"));
    };
    let domains = first.model.domains();
    for o in objectives {
        if o.model.domains() != domains {
            return Err(Error::invalid_argument(
                "objectives",
                format!("{} was fitted to other domains than {}", o.model.target(), first.model.target()),
            ));
        }
        if !(o.weight > 0.0 && o.weight.is_finite()) {
            return Err(Error::invalid_argument("weight", format!("{} for {}", o.weight, o.model.target())));
        }
    }
    if prior.len() != domains.len() {
        return Err(Error::invalid_argument(
            "prior",
            format!("{} weights for {} domains", prior.len(), domains.len()),
        ));
    }
    runs::check_mixture(prior, domains)?;
    if !(options.strength > 0.0 && options.strength.is_finite()) {
        return Err(Error::invalid_argument("strength", "must be positive"));
    }
    if options.best == 0 || options.draws < options.best {
        return Err(Error::invalid_argument("best", "must be at least 1 and at most draws"));
    }
    if let Some(bounds) = &options.max_weights {
        if bounds.len() != domains.len() || bounds.iter().any(|b| b.is_nan() || *b < 0.0) {
            return Err(Error::invalid_argument("maxWeights", "one bound of at least 0 for each domain"));
        }
        let most: f64 = bounds.iter().sum();
        if most < 1.0 {
            return Err(Error::invalid_argument(
                "maxWeights",
                format!("infeasible: the bounds sum to {most}, below 1"),
            ));
        }
    }
    Ok(domains)
}

/// Draws in blocks of their own streams, so that they are the same whatever the threads.
fn draw(prior: &[f64], options: &OptimizeOptions) -> Matrix {
    const BLOCK: usize = 1024;
    let k = prior.len();
    let dirichlet = Dirichlet::new(prior.iter().map(|p| p * options.strength));
    let blocks: Vec<Vec<f64>> = (0..options.draws.div_ceil(BLOCK))
        .into_par_iter()
        .map(|block| {
            let mut rng = rng::stream(options.seed, "optimize_mixture", block as u64);
            let mut kept = Vec::new();
            let mut w = vec![0.0; k];
            for _ in block * BLOCK..options.draws.min((block + 1) * BLOCK) {
                dirichlet.sample(&mut rng, &mut w);
                if let Some(bounds) = options.max_weights.as_ref().filter(|_| options.clip) {
                    clip(&mut w, bounds);
                }
                let bounds = options.max_weights.iter().flatten();
                if w.iter().zip(bounds).all(|(w, bound)| *w <= bound + 1e-12) {
                    kept.extend_from_slice(&w);
                }
            }
            kept
        })
        .collect();
    let data = blocks.concat();
    let mut mixtures = Matrix::zeros(data.len() / k, k);
    mixtures.as_mut_slice().copy_from_slice(&data);
    mixtures
}

/// Cuts weights to their bounds, whose sum is at least one; what is cut off goes to the others in proportion, or to
/// where there is room when they have nothing.
fn clip(w: &mut [f64], bounds: &[f64]) {
    for _ in 0..w.len() {
        let mut excess = 0.0;
        for (w, bound) in w.iter_mut().zip(bounds) {
            excess += (*w - bound).max(0.0);
            *w = w.min(*bound);
        }
        if excess <= 1e-15 {
            return;
        }
        let free: f64 = w.iter().zip(bounds).filter(|(w, bound)| w < bound).map(|(w, _)| *w).sum();
        let room: f64 = w.iter().zip(bounds).map(|(w, bound)| bound - w).sum();
        for (w, bound) in w.iter_mut().zip(bounds).filter(|(w, bound)| **w < **bound) {
            *w += if free > 1e-9 { excess * *w / free } else { excess * (bound - *w) / room };
        }
    }
}

/// The places of the `n` lowest values, lowest first; ties go to the earlier place.
fn lowest(values: &[f64], n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    let by_value = |a: &usize, b: &usize| values[*a].total_cmp(&values[*b]).then(a.cmp(b));
    if n < order.len() {
        order.select_nth_unstable_by(n, by_value);
        order.truncate(n);
    }
    order.sort_unstable_by(by_value);
    order
}

fn mean_row(x: &Matrix, rows: &[usize]) -> Vec<f64> {
    let mut mean = vec![0.0; x.columns()];
    for &i in rows {
        mean.iter_mut().zip(x.row(i)).for_each(|(m, w)| *m += w);
    }
    mean.iter_mut().for_each(|m| *m /= rows.len() as f64);
    mean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FitOptions, Regressor, Runs};
    use gristmill_core::Code;

    #[test]
    fn clipping_keeps_the_sum_the_bounds_and_the_proportions() {
        let mut w = [0.7, 0.2, 0.1];
        clip(&mut w, &[0.4, 1.0, 1.0]);
        assert!(w.iter().zip([0.4, 0.4, 0.2]).all(|(a, b)| (a - b).abs() < 1e-12), "{w:?}");
        let mut w = [0.7, 0.2, 0.1];
        clip(&mut w, &[0.4, 0.25, 1.0]);
        assert!(w.iter().zip([0.4, 0.25, 0.35]).all(|(a, b)| (a - b).abs() < 1e-12), "{w:?}");
        let mut w = [1.0, 0.0, 0.0];
        clip(&mut w, &[0.5, 0.3, 0.2]);
        assert!(w.iter().zip([0.5, 0.3, 0.2]).all(|(a, b)| (a - b).abs() < 1e-9), "{w:?}");
    }

    fn model(target: usize) -> MixtureModel {
        // Target 0 is lowest on c and target 1 on a.
        let weights =
            Matrix::from_rows(&[[0.6, 0.3, 0.1], [0.1, 0.6, 0.3], [0.3, 0.1, 0.6], [0.3, 0.4, 0.3]]);
        let loss = |w: &[f64]| [3.0 * w[0] + 2.0 * w[1] + w[2], w[0] + 2.0 * w[1] + 2.5 * w[2]];
        let losses: Vec<f64> = weights.iter_rows().flat_map(loss).collect();
        let names = |n: &str| n.chars().map(String::from).collect::<Vec<_>>();
        let runs = Runs::new(names("abc"), weights, names("xy"), Matrix::new(4, 2, losses).unwrap()).unwrap();
        let options = FitOptions { regressor: Regressor::Linear { l2: 0.0 }, bags: 0, folds: 0, seed: 0 };
        MixtureModel::fit(&runs, ["x", "y"][target], &options, &Control::default()).unwrap()
    }

    fn run(objectives: &[Objective<'_>], options: &OptimizeOptions) -> Result<Optimum> {
        optimize_mixture(objectives, &[0.4, 0.4, 0.2], options, &Control::default())
    }

    #[test]
    fn finds_the_corner_says_that_it_was_never_trained_and_obeys_bounds() {
        let m = model(0);
        let objective = [Objective { model: &m, weight: 1.0 }];
        let o = run(&objective, &OptimizeOptions::default()).unwrap();
        let c = &o.domains[2];
        assert!(c.weight.value > 0.99 && c.extrapolated, "{c:?}");
        assert!((o.predicted.value - 1.0).abs() < 0.02 && (o.at_prior.value - 2.2).abs() < 1e-6);
        assert!((o.gain.value - (o.at_prior.value - o.predicted.value)).abs() < 1e-12);
        assert_eq!(o.admissible, 100_000);

        let bounded = OptimizeOptions { max_weights: Some(vec![1.0, 0.2, 0.5]), ..Default::default() };
        let w = run(&objective, &bounded).unwrap().weights();
        assert!(w[2] <= 0.5 && w[2] > 0.45 && w[1] <= 0.2 && w[1] > 0.15, "{w:?}");
        assert!((w.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn several_targets_are_weighed() {
        let (x, y) = (model(0), model(1));
        let both = |weight| {
            let objectives = [Objective { model: &x, weight: 1.0 }, Objective { model: &y, weight }];
            run(&objectives, &OptimizeOptions::default()).unwrap().weights()
        };
        assert!(both(0.1)[2] > 0.95);
        assert!(both(10.0)[0] > 0.95);
    }

    #[test]
    fn refuses_what_has_no_answer() {
        let m = model(0);
        let objective = [Objective { model: &m, weight: 1.0 }];
        let bounds = |b: [f64; 3]| OptimizeOptions { max_weights: Some(b.to_vec()), ..Default::default() };
        assert!(run(&objective, &bounds([0.3, 0.3, 0.3])).unwrap_err().message().contains("infeasible"));
        assert!(run(&objective, &bounds([0.3, 0.3, 0.4000001])).unwrap_err().message().contains("obey"));
        assert_eq!(run(&[], &OptimizeOptions::default()).unwrap_err().code(), Code::InvalidArgument);
        let negative = [Objective { model: &m, weight: -1.0 }];
        assert_eq!(run(&negative, &OptimizeOptions::default()).unwrap_err().code(), Code::InvalidArgument);
        let few = OptimizeOptions { draws: 10, ..Default::default() };
        assert_eq!(run(&objective, &few).unwrap_err().location().column.as_deref(), Some("best"));
        let prior =
            optimize_mixture(&objective, &[0.4, 0.4, 0.4], &OptimizeOptions::default(), &Control::default());
        assert_eq!(prior.unwrap_err().code(), Code::InvalidValue);
    }

    #[test]
    fn lowest_breaks_ties_by_place() {
        assert_eq!(lowest(&[2.0, 1.0, 2.0, 0.0, 1.0, 1.0], 3), [3, 1, 4]);
        assert_eq!(lowest(&[2.0, 1.0], 2), [1, 0]);
    }
}
