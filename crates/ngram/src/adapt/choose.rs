//! The choice of order and weight on held-out target text.

use gristmill_core::Result;
use serde::{Deserialize, Serialize};

use super::Fitter;
use super::discriminate::{Discrimination, discriminate};
use super::documents::Documents;
use super::pair::{Adapted, PairScratch, mixture};

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

/// Chooses, and says from which score on a pool document is target-like.
pub(super) fn choose(
    fitter: &Fitter<'_>,
    target: &Documents,
    pool: &Documents,
) -> Result<(Choice, Option<f64>)> {
    let pool = pool.thin(fitter.options.choice_tokens);
    let tried = fitter.options.orders().map(|order| evaluate(fitter, order, target, &pool));
    let tried: Vec<(Candidate, Vec<f64>)> = tried.collect::<Result<_>>()?;
    let auc = |c: &Candidate| c.discrimination.auc;
    let best =
        tried.iter().map(|(c, _)| c).max_by(|a, b| auc(a).total_cmp(&auc(b))).expect("an order is tried");
    let enough = best.discrimination.auc - best.discrimination.standard_error;
    let (chosen, held_out) =
        tried.iter().find(|(c, _)| c.discrimination.auc >= enough).expect("the best is good enough");
    let threshold = fitter.options.lookalikes.and_then(|q| quantile(held_out, q));
    let choice = Choice {
        order: chosen.order,
        weight: chosen.weight,
        discrimination: chosen.discrimination,
        candidates: tried.iter().map(|(candidate, _)| *candidate).collect(),
    };
    Ok((choice, threshold))
}

/// Fits one order on folds; also returns the scores of the held-out target documents.
fn evaluate(
    fitter: &Fitter<'_>,
    order: usize,
    target: &Documents,
    pool: &Documents,
) -> Result<(Candidate, Vec<f64>)> {
    let folds = fitter.options.folds;
    let parts: Vec<(Documents, Documents)> = (0..folds).map(|fold| target.fold(fold, folds)).collect();
    let of_rest = |(_, rest): &(Documents, Documents)| fitter.model(&fitter.fit(order, [rest])?);
    let models = parts.iter().map(of_rest).collect::<Result<Vec<_>>>()?;

    let weight = match fitter.options.weight {
        Some(weight) => weight,
        None => {
            let unseen = fitter.model(&fitter.fit(order, [pool])?)?;
            let (mut prior, mut own) = (Vec::new(), Vec::new());
            let (mut priors, mut owns) = (Vec::new(), Vec::new());
            for ((held_out, _), model) in parts.iter().zip(&models) {
                for words in held_out.iter() {
                    unseen.score(words, true, true, &mut prior);
                    model.score(words, true, true, &mut own);
                    priors.extend_from_slice(&prior);
                    owns.extend_from_slice(&own);
                }
            }
            fit_weight(&priors, &owns)
        }
    };

    let mut pair = Adapted::new(
        fitter.model(&fitter.fit(order, [pool, target])?)?,
        fitter.model(&fitter.fit(order, [target])?)?,
        weight,
    )?;
    let pool_scores = pair.loss_reductions(pool, fitter.options.threads)?;
    let mut held_out_scores = Vec::with_capacity(target.len());
    let mut scratch = PairScratch::default();
    for ((held_out, _), model) in parts.iter().zip(models) {
        pair = pair.with_target(model);
        held_out_scores.extend(held_out.iter().map(|words| pair.score(words, &mut scratch).loss_reduction()));
    }
    let discrimination = discriminate(&held_out_scores, &pool_scores);
    Ok((Candidate { order, weight, discrimination }, held_out_scores))
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
fn quantile(numbers: &[f64], q: f64) -> Option<f64> {
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
