//! The choice of order and weight on held-out target text.

use gristmill_core::Result;
use serde::{Deserialize, Serialize};

use super::Fitter;
use super::discriminate::{Discrimination, discriminate};
use super::documents::Documents;
use super::pair::{Pair, PairScratch, mixture};
use crate::model::{Model, ModelMeta};

/// What was chosen and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Choice {
    /// Order of both models.
    pub order: usize,
    /// Weight of the target model in the conditional.
    pub weight: f64,
    /// How well the two tell held-out target documents from pool documents.
    pub discrimination: Discrimination,
    /// All that was tried.
    pub candidates: Vec<Candidate>,
}

/// One order that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// Order of both models.
    pub order: usize,
    /// Weight of the target model.
    pub weight: f64,
    /// How well they discriminate.
    pub discrimination: Discrimination,
}

/// A higher order must beat a lower one by this many standard errors. Documents of one sample are more alike
/// than documents of their kind (they share authors and subjects), which flatters high orders.
const STANDARD_ERRORS: f64 = 2.0;

/// Chooses; also returns the folds of the order chosen.
pub(super) fn choose(fitter: &Fitter<'_>, target: &Documents, pool: &Documents) -> Result<(Choice, Folds)> {
    let pool = pool.thin(fitter.options.choice_tokens);
    let mut tried: Vec<(Candidate, Folds)> = Vec::new();
    for order in fitter.options.orders() {
        tried.push(evaluate(fitter, order, target, &pool)?);
    }
    let candidates: Vec<Candidate> = tried.iter().map(|(candidate, _)| *candidate).collect();
    let best = candidates.iter().map(|c| c.discrimination).max_by(|a, b| a.auc.total_cmp(&b.auc));
    let enough = best.map_or(0.0, |best| best.auc - STANDARD_ERRORS * best.standard_error);
    let at = candidates.iter().position(|c| c.discrimination.auc >= enough).unwrap_or(0);
    let (Candidate { order, weight, discrimination }, folds) = tried.swap_remove(at);
    Ok((Choice { order, weight, discrimination, candidates }, folds))
}

/// The target sample in parts, each with a model of all others.
pub(super) struct Folds(Vec<(Documents, Model)>);

impl Folds {
    fn fit(fitter: &Fitter<'_>, order: usize, target: &Documents) -> Result<Self> {
        let folds = fitter.options.folds;
        let part = |fold| {
            let (held_out, rest) = target.fold(fold, folds);
            Ok((held_out, Model::from_trie(&fitter.fit(order, [&rest])?.trie, ModelMeta::default())?))
        };
        (0..folds).map(part).collect::<Result<_>>().map(Self)
    }

    /// The weight that makes the held-out text most likely, beside a prior that has not seen it.
    fn weight(&self, prior: &Model) -> f64 {
        let (mut log10, mut priors, mut owns) = (Vec::new(), Vec::new(), Vec::new());
        for (held_out, model) in &self.0 {
            for words in held_out.iter() {
                prior.score(words, true, true, &mut log10);
                priors.extend_from_slice(&log10);
                model.score(words, true, true, &mut log10);
                owns.extend_from_slice(&log10);
            }
        }
        fit_weight(&priors, &owns)
    }

    /// Loss reductions of the held-out documents.
    pub(super) fn loss_reductions(&self, prior: &Model, weight: f64) -> Vec<f64> {
        let mut scratch = PairScratch::default();
        let mut scores = Vec::new();
        for (held_out, target) in &self.0 {
            let pair = Pair { prior, target, weight };
            scores.extend(held_out.iter().map(|words| pair.score(words, &mut scratch).loss_reduction()));
        }
        scores
    }
}

fn evaluate(
    fitter: &Fitter<'_>,
    order: usize,
    target: &Documents,
    pool: &Documents,
) -> Result<(Candidate, Folds)> {
    let folds = Folds::fit(fitter, order, target)?;
    let weight = match fitter.options.weight {
        Some(weight) => weight,
        None => folds.weight(&fitter.model(order, [pool])?),
    };
    let (prior, target) = (fitter.model(order, [pool, target])?, fitter.model(order, [target])?);
    let pair = Pair { prior: &prior, target: &target, weight };
    let pool_scores = pair.loss_reductions(pool, fitter.options.threads)?;
    let discrimination = discriminate(&folds.loss_reductions(&prior, weight), &pool_scores);
    Ok((Candidate { order, weight, discrimination }, folds))
}

/// The interpolation weight of highest likelihood, by expectation maximisation, from log10 probabilities.
///
/// The likelihood is concave in the weight, so the start does not matter. The result is kept off 0, where
/// the conditional would be the prior and every score 0.
fn fit_weight(prior: &[f32], target: &[f32]) -> f64 {
    let mut weight = 0.5;
    for _ in 0..200 {
        let posterior = |(p, t): (&f32, &f32)| {
            let both = mixture(weight, *p, *t);
            1.0 - (1.0 - weight) * 10f64.powf(f64::from(*p)) / both
        };
        let next = prior.iter().zip(target).map(posterior).sum::<f64>() / prior.len() as f64;
        let step = (next - weight).abs();
        weight = next.clamp(0.01, 0.999);
        if step < 1e-6 {
            break;
        }
    }
    weight
}

/// The value below which a share `q` of the numbers lies; `None` without numbers.
pub(super) fn quantile(numbers: &[f64], q: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = numbers.iter().copied().filter(|x| !x.is_nan()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = (q * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fitted_weight_is_the_most_likely_one() {
        // log10 probabilities of a made-up text.
        let prior = [-1.0, -2.0, -0.5, -3.0, -1.5, -2.5f32];
        let target = [-1.2, -1.0, -1.5, -2.0, -4.0, -1.0f32];
        let likelihood =
            |w: f64| prior.iter().zip(&target).map(|(p, t)| mixture(w, *p, *t).ln()).sum::<f64>();
        let fitted = fit_weight(&prior, &target);
        let best =
            (1..1000).map(|i| f64::from(i) / 1000.0).max_by(|a, b| likelihood(*a).total_cmp(&likelihood(*b)));
        assert!((fitted - best.unwrap()).abs() < 2e-3, "{fitted} {best:?}");
    }

    #[test]
    fn a_useless_target_model_keeps_a_weight_above_zero() {
        assert_eq!(fit_weight(&[-1.0; 4], &[-6.0; 4]), 0.01);
        assert_eq!(fit_weight(&[-6.0; 4], &[-1.0; 4]), 0.999);
    }

    #[test]
    fn quantiles_of_a_row_of_numbers() {
        let numbers: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        assert_eq!((quantile(&numbers, 0.05), quantile(&numbers, 1.0)), (Some(5.0), Some(100.0)));
        assert_eq!(quantile(&[f64::NAN], 0.5), None);
    }
}
