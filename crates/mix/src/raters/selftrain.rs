//! Self-training: a classifier labels the rows of which it is sure, and learns from them.

use gristmill_core::{Control, Error, Result};
use serde::{Deserialize, Serialize};

use super::calibration::Platt;
use super::logistic::{Linear, LogisticOptions, Targets, fit_logistic, held_out_margins};
use super::rows::Rows;

/// How [`self_train`] goes on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SelfTrainOptions {
    /// How often pseudo-labels are given and learnt from, at most; default 1, and 0 for never.
    pub rounds: usize,
    /// A row of at least this probability becomes positive; default 0.9.
    pub above: f64,
    /// A row of at most this probability becomes negative; default 0.1.
    pub below: f64,
    /// Folds of the held-out margins that probabilities are calibrated on; default 5.
    pub folds: usize,
    /// How the classifier is fitted.
    pub logistic: LogisticOptions,
}

impl Default for SelfTrainOptions {
    fn default() -> Self {
        Self { rounds: 1, above: 0.9, below: 0.1, folds: 5, logistic: LogisticOptions::default() }
    }
}

/// What [`self_train`] came to.
#[derive(Debug, Clone, PartialEq)]
pub struct SelfTraining {
    /// The last classifier.
    pub model: Linear,
    /// Its margins to probabilities.
    pub calibration: Platt,
    /// Margins of all rows by classifiers that did not see them, in the last round.
    pub held_out: Vec<f64>,
    /// The label of each row that the last classifier learnt from: the known one, or the pseudo-label; `None`
    /// for a row that it was not sure of.
    pub labels: Vec<Option<bool>>,
    /// Rounds of pseudo-labels that were learnt from.
    pub rounds: usize,
}

/// Learns from rows of which some have a label (`known`).
///
/// The first classifier takes rows without a label for negatives (positive and unlabelled: what a pool mostly
/// holds is not what is wanted). Each round then gives those rows the label of which the classifier is sure
/// *without having seen the row*, by its calibrated held-out probability, leaves out the others, and fits
/// again. It ends early when no label changes.
///
/// Probabilities are at even odds: both classes count the same, however many rows they have.
///
/// # Errors
/// [`Code::EmptyInput`](gristmill_core::Code::EmptyInput) when one side has no row, at the beginning or because
/// no probability reaches a threshold; thresholds that are not `0 <= below < above <= 1`; those of
/// [`fit_logistic`].
pub fn self_train(
    rows: &impl Rows,
    known: &[Option<bool>],
    options: &SelfTrainOptions,
    control: &Control,
) -> Result<SelfTraining> {
    let (above, below) = (options.above, options.below);
    if !(0.0 <= below && below < above && above <= 1.0) {
        let message = format!("{below} and {above} are not two probabilities in order");
        return Err(Error::invalid_argument("above", message));
    }
    if options.folds < 2 {
        return Err(Error::invalid_argument("folds", "must be at least 2"));
    }
    let mut labels: Vec<Option<bool>> = known.iter().map(|k| k.or(Some(false))).collect();
    let mut rounds = 0;
    loop {
        let targets = of_labels(&labels)?;
        let model = fit_logistic(rows, &targets, &options.logistic, control)?;
        let folds = folds_of(&labels, options.folds);
        let held_out = held_out_margins(rows, &targets, &folds, &model, &options.logistic, control)?;
        let calibration = Platt::fit(&held_out, &targets.labels, &targets.weights, false);
        let mut next = known.to_vec();
        for (label, &margin) in next.iter_mut().zip(&held_out) {
            let p = calibration.probability(margin);
            *label = label.or((p >= above).then_some(true)).or((p <= below).then_some(false));
        }
        if rounds == options.rounds || next == labels {
            return Ok(SelfTraining { model, calibration, held_out, labels, rounds });
        }
        labels = next;
        rounds += 1;
    }
}

/// Balanced targets of the rows that have a label.
fn of_labels(labels: &[Option<bool>]) -> Result<Targets> {
    let sure: Vec<bool> = labels.iter().flatten().copied().collect();
    let balanced = Targets::balanced(&sure)?;
    let mut next = balanced.labels.into_iter().zip(balanced.weights);
    let place = |label: &Option<bool>| label.and_then(|_| next.next()).unwrap_or((0.0, 0.0));
    let (labels, weights) = labels.iter().map(place).unzip();
    Ok(Targets { labels, weights })
}

/// Rows of each label in turn, so that every fold has its part of each.
fn folds_of(labels: &[Option<bool>], folds: usize) -> Vec<usize> {
    let mut seen = [0usize; 3];
    let fold = |label: &Option<bool>| {
        let count = &mut seen[label.map_or(2, usize::from)];
        *count += 1;
        (*count - 1) % folds
    };
    labels.iter().map(fold).collect()
}

#[cfg(test)]
mod tests {
    use gristmill_core::Code;
    use rand::RngExt;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::raters::Dense;
    use crate::rng;

    /// Two clouds in eight dimensions; rows `known` have a label.
    fn clouds(n: usize, known: usize, seed: u64) -> (Dense, Vec<bool>, Vec<Option<bool>>) {
        let mut rng = rng::stream(seed, "test", 0);
        let mut rows = Dense::new(8);
        let mut truth = Vec::new();
        for _ in 0..n {
            let positive = rng.random_range(0.0..1.0) < 0.4;
            let row: Vec<f32> = (0..8)
                .map(|_| {
                    let noise: f64 = StandardNormal.sample(&mut rng);
                    (noise + if positive { 0.9 } else { -0.9 }) as f32
                })
                .collect();
            rows.push(&row).unwrap();
            truth.push(positive);
        }
        let known = truth.iter().enumerate().map(|(i, &t)| (i < known).then_some(t)).collect();
        (rows, truth, known)
    }

    fn accuracy(m: &SelfTraining, rows: &Dense, truth: &[bool]) -> f64 {
        let right = (0..truth.len()).filter(|&i| (m.model.margin(rows, i) > 0.0) == truth[i]).count();
        right as f64 / truth.len() as f64
    }

    #[test]
    fn learns_more_from_pseudo_labels_than_without() {
        let (rows, truth, known) = clouds(2000, 16, 3);
        let with = |rounds| {
            let o = SelfTrainOptions { rounds, ..Default::default() };
            self_train(&rows, &known, &o, &Control::default()).unwrap()
        };
        // Without a round, all that has no label counts as negative.
        let (none, some) = (with(0), with(4));
        let (before, after) = (accuracy(&none, &rows, &truth), accuracy(&some, &rows, &truth));
        assert!(after > before && after > 0.95, "{before} {after}");
        assert_eq!(some.labels[..16], known[..16], "known labels stay");
        let pseudo: Vec<bool> =
            (16..2000).filter_map(|i| some.labels[i].map(|label| label == truth[i])).collect();
        let right = pseudo.iter().filter(|r| **r).count();
        assert!(
            pseudo.len() > 500 && right as f64 > 0.95 * pseudo.len() as f64,
            "{right} of {}",
            pseudo.len()
        );
    }

    #[test]
    fn refuses_thresholds_and_labels_that_leave_nothing() {
        let (rows, _, known) = clouds(60, 10, 1);
        let go =
            |known: &[Option<bool>], o| self_train(&rows, known, &o, &Control::default()).unwrap_err().code();
        let d = SelfTrainOptions::default;
        assert_eq!(go(&known, SelfTrainOptions { above: 0.2, below: 0.5, ..d() }), Code::InvalidArgument);
        assert_eq!(go(&known, SelfTrainOptions { above: f64::NAN, ..d() }), Code::InvalidArgument);
        assert_eq!(go(&known, SelfTrainOptions { folds: 1, ..d() }), Code::InvalidArgument);
        assert_eq!(go(&[None; 60], d()), Code::EmptyInput);
    }
}
