//! Bradley and Terry's model: a rating whose differences are the log-odds of preference.

use std::collections::BTreeMap;

use gristmill_core::hash::hash64;
use gristmill_core::{Code, Control, Error, Result};
use serde::{Deserialize, Serialize};

use super::calibration::Platt;
use super::logistic::{Linear, LogisticOptions, Targets, fit_logistic, held_out_margins};
use super::rows::{Differences, Rows};

/// One judgement: document `a` is better than `b` with this probability, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// A row.
    pub a: usize,
    /// Another row.
    pub b: usize,
    /// How probable it is that `a` is the better one: 1 for a clear judgement, 0.5 for a tie.
    pub probability: f64,
}

/// How [`fit_pairs`] fits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PairOptions {
    /// The penalty; when not given, that of `candidates` with the lowest loss on pairs held out.
    pub l2: Option<f64>,
    /// The penalties to choose from; default 0.001 to 10, each ten times the one before.
    pub candidates: Vec<f64>,
    /// Folds of the check; default 5.
    pub folds: usize,
    /// Decides folds and the order of the rows; default 0.
    pub seed: u64,
}

impl Default for PairOptions {
    fn default() -> Self {
        Self { l2: None, candidates: vec![0.001, 0.01, 0.1, 1.0, 10.0], folds: 5, seed: 0 }
    }
}

/// How the ratings did on pairs that they were not fitted to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldOutPairs {
    /// Pairs compared, ties of the judge apart.
    pub pairs: u64,
    /// Share of them whose better document has the higher rating; a tie of the ratings counts half.
    pub accuracy: f64,
    /// Mean loss of the calibrated ratings, in nats a pair; ln 2 = 0.693 is chance.
    pub loss: f64,
    /// Whether neither document of these pairs was in the pairs fitted to. Where there are too few such pairs,
    /// pairs are held out and their documents may be known from others.
    pub unseen_documents: bool,
}

/// A rating of documents.
#[derive(Debug, Clone, PartialEq)]
pub struct PairFit {
    /// The rating: `slope · w·x`. It has no constant, which differences cannot show.
    pub model: Linear,
    /// What makes the differences of ratings log-odds; 1 where nothing could be held out.
    pub slope: f64,
    /// The penalty.
    pub l2: f64,
    /// How it did on pairs held out; `None` where there are too few pairs for that.
    pub held_out: Option<HeldOutPairs>,
    /// Every penalty tried, with its loss on pairs held out.
    pub tried: Vec<(f64, f64)>,
}

impl PairFit {
    /// The rating of a row.
    pub fn rating(&self, rows: &impl Rows, row: usize) -> f64 {
        self.slope * self.model.margin(rows, row)
    }
}

/// Two documents of which the judge has said both that one is better and that the other is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contradiction {
    /// The document with the lower number.
    pub a: usize,
    /// The other one.
    pub b: usize,
    /// Judgements that prefer `a`, by their place in the list.
    pub for_a: Vec<usize>,
    /// Judgements that prefer `b`.
    pub for_b: Vec<usize>,
}

/// All pairs that were judged both ways, in the order of their documents. A fit takes both judgements, which
/// pull towards a tie; whoever wants none of it has the places here.
pub fn contradictions(comparisons: &[Comparison]) -> Vec<Contradiction> {
    let mut judged: BTreeMap<(usize, usize), [Vec<usize>; 2]> = BTreeMap::new();
    for (place, c) in comparisons.iter().enumerate().filter(|(_, c)| c.probability != 0.5) {
        let a_wins = c.probability > 0.5;
        let (low, for_low) = if c.a < c.b { ((c.a, c.b), a_wins) } else { ((c.b, c.a), !a_wins) };
        judged.entry(low).or_default()[usize::from(!for_low)].push(place);
    }
    let both = |((a, b), [for_a, for_b]): (_, [Vec<usize>; 2])| {
        (!for_a.is_empty() && !for_b.is_empty()).then_some(Contradiction { a, b, for_a, for_b })
    };
    judged.into_iter().filter_map(both).collect()
}

/// Fewest pairs whose documents were not seen that say anything.
const FEWEST: usize = 20;

/// Fits a rating to judgements of pairs: logistic regression on the differences of rows, without a constant,
/// with probabilities as soft labels (Bradley and Terry, 1952; as a loss of raters in QuRating, Wettig, Gupta,
/// Malik and Chen, 2024, equation 1).
///
/// # Errors
/// [`Code::EmptyInput`] when no judgement prefers one document; [`Code::InvalidValue`] with the place of the
/// judgement for a document compared with itself or a probability outside of 0 to 1, and for judgements that
/// cancel out altogether; options out of range.
pub fn fit_pairs(
    rows: &impl Rows,
    comparisons: &[Comparison],
    options: &PairOptions,
    control: &Control,
) -> Result<PairFit> {
    check(rows, comparisons, options)?;
    let differences = Differences::new(rows, comparisons.iter().map(|c| (c.a, c.b)).collect());
    let targets = Targets::even(comparisons.iter().map(|c| c.probability).collect());
    let fit = |l2| LogisticOptions { l2, intercept: false, seed: options.seed, ..Default::default() };

    let held_out = HeldOut::new(comparisons, options);
    let candidates = options.l2.map_or_else(|| options.candidates.clone(), |l2| vec![l2]);
    let mut best: Option<(f64, f64, HeldOutPairs)> = None;
    let mut tried = Vec::new();
    if let Some(held_out) = &held_out {
        for &l2 in &candidates {
            let margins = held_out.margins(&differences, &targets, &fit(l2), control)?;
            let (slope, report) = held_out.judge(&margins, comparisons);
            tried.push((l2, report.loss));
            if best.is_none_or(|(_, _, other)| report.loss < other.loss) {
                best = Some((l2, slope, report));
            }
        }
    }
    let l2 = best.map_or(options.l2.unwrap_or(1.0), |(l2, ..)| l2);
    let model = fit_logistic(&differences, &targets, &fit(l2), control)?;
    if model.weights.iter().all(|w| *w == 0.0) {
        let message = "the documents of every pair have the same features: nothing tells them apart";
        return Err(Error::new(Code::InvalidValue, message));
    }
    // A slope of zero or below would say that what was learnt is worth nothing; the report says that, and the
    // order of the documents is that of the fit.
    let slope = best.map_or(1.0, |(_, slope, _)| slope);
    let slope = if slope > 0.0 { slope } else { 1.0 };
    Ok(PairFit { model, slope, l2, held_out: best.map(|(.., report)| report), tried })
}

fn check(rows: &impl Rows, comparisons: &[Comparison], options: &PairOptions) -> Result<()> {
    let bad =
        |place: usize, message: String| Err(Error::new(Code::InvalidValue, message).at_row(place as u64));
    for (place, c) in comparisons.iter().enumerate() {
        if c.a >= rows.len() || c.b >= rows.len() {
            return bad(place, format!("documents {} and {} of {}", c.a, c.b, rows.len()));
        }
        if c.a == c.b {
            return bad(place, "a document is compared with itself".into());
        }
        if !(0.0..=1.0).contains(&c.probability) {
            return bad(place, format!("{} is no probability", c.probability));
        }
    }
    if comparisons.iter().all(|c| c.probability == 0.5) {
        return Err(Error::new(Code::EmptyInput, "no judgement prefers one document to another"));
    }
    let mut net: BTreeMap<(usize, usize), f64> = BTreeMap::new();
    for c in comparisons {
        let (pair, sign) = if c.a < c.b { ((c.a, c.b), 1.0) } else { ((c.b, c.a), -1.0) };
        *net.entry(pair).or_default() += sign * (c.probability - 0.5);
    }
    if net.values().all(|n| n.abs() < 1e-12) {
        return Err(Error::new(
            Code::InvalidValue,
            "every pair was judged both ways, and the judgements cancel out",
        ));
    }
    if options.folds < 2 {
        return Err(Error::invalid_argument("folds", "must be at least 2"));
    }
    let penalties = options.l2.iter().chain(&options.candidates);
    if options.l2.is_none() && options.candidates.is_empty()
        || penalties.into_iter().any(|l2| !(l2.is_finite() && *l2 > 0.0))
    {
        return Err(Error::invalid_argument(
            "l2",
            "a penalty is a positive number, and there is one at least",
        ));
    }
    Ok(())
}

/// Which pairs are held out, and from which fits.
struct HeldOut {
    /// The fold of each pair's two documents, or of the pair twice.
    folds: Vec<(usize, usize)>,
    count: usize,
    unseen: bool,
}

impl HeldOut {
    /// By documents, so that a pair held out has none that was seen; by pairs where that leaves too few.
    fn new(comparisons: &[Comparison], options: &PairOptions) -> Option<Self> {
        let of = |n: usize| (hash64(options.seed, &(n as u64).to_le_bytes()) % options.folds as u64) as usize;
        let folds: Vec<_> = comparisons.iter().map(|c| (of(c.a), of(c.b))).collect();
        let enough = |folds: &[(usize, usize)]| {
            let tested = |(f, c): &(&(usize, usize), &Comparison)| f.0 == f.1 && c.probability != 0.5;
            folds.iter().zip(comparisons).filter(tested).count() >= FEWEST
        };
        let count = options.folds;
        if enough(&folds) {
            return Some(Self { folds, count, unseen: true });
        }
        let folds: Vec<_> = (0..comparisons.len()).map(|i| (i % count, i % count)).collect();
        enough(&folds).then_some(Self { folds, count, unseen: false })
    }

    /// Margins of the pairs that were held out; NaN for others.
    fn margins(
        &self,
        rows: &impl Rows,
        targets: &Targets,
        options: &LogisticOptions,
        control: &Control,
    ) -> Result<Vec<f64>> {
        if !self.unseen {
            let folds: Vec<usize> = self.folds.iter().map(|f| f.0).collect();
            let whole = fit_logistic(rows, targets, options, control)?;
            return held_out_margins(rows, targets, &folds, &whole, options, control);
        }
        let mut margins = vec![f64::NAN; rows.len()];
        for fold in 0..self.count {
            let mut others = targets.clone();
            for (weight, &(a, b)) in others.weights.iter_mut().zip(&self.folds) {
                *weight = f64::from(u8::from(a != fold && b != fold));
            }
            if others.weights.iter().all(|w| *w == 0.0) {
                continue;
            }
            let model = fit_logistic(rows, &others, options, control)?;
            for row in (0..rows.len()).filter(|&row| self.folds[row] == (fold, fold)) {
                margins[row] = model.margin(rows, row);
            }
        }
        Ok(margins)
    }

    /// The slope that makes the margins log-odds, and how good they are with it.
    fn judge(&self, margins: &[f64], comparisons: &[Comparison]) -> (f64, HeldOutPairs) {
        let known = margins.iter().zip(comparisons).filter(|(m, _)| !m.is_nan());
        let (margins, labels): (Vec<f64>, Vec<f64>) = known.map(|(m, c)| (*m, c.probability)).unzip();
        let platt = Platt::fit(&margins, &labels, &vec![1.0; margins.len()], true);
        let (mut right, mut decided, mut loss) = (0.0, 0u64, 0.0);
        for (&margin, &p) in margins.iter().zip(&labels) {
            let t = platt.log_odds(margin);
            loss += t.max(0.0) + libm::log1p(libm::exp(-t.abs())) - p * t;
            if p != 0.5 {
                decided += 1;
                let won = if p > 0.5 { margin } else { -margin };
                right += if won > 0.0 {
                    1.0
                } else if won == 0.0 {
                    0.5
                } else {
                    0.0
                };
            }
        }
        let report = HeldOutPairs {
            pairs: decided,
            accuracy: right / decided as f64,
            loss: loss / margins.len() as f64,
            unseen_documents: self.unseen,
        };
        (platt.slope, report)
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::raters::Dense;
    use crate::rng;

    /// Documents on a plane whose true rating is `2x - y`, and judgements drawn from it.
    fn judged(documents: usize, pairs: usize, soft: bool) -> (Dense, Vec<Comparison>, Vec<f64>) {
        let mut rng = rng::stream(9, "test", 0);
        let mut rows = Dense::new(2);
        let mut truth = Vec::new();
        for _ in 0..documents {
            let [x, y] = [rng.random_range(-2.0..2.0f64), rng.random_range(-2.0..2.0)];
            rows.push(&[x as f32, y as f32]).unwrap();
            truth.push(2.0 * x - y);
        }
        let comparisons = (0..pairs)
            .map(|_| {
                let a = rng.random_range(0..documents);
                let b = (a + rng.random_range(1..documents)) % documents;
                let p = 1.0 / (1.0 + (truth[b] - truth[a]).exp());
                let drawn = f64::from(u8::from(rng.random_range(0.0..1.0) < p));
                Comparison { a, b, probability: if soft { p } else { drawn } }
            })
            .collect();
        (rows, comparisons, truth)
    }

    #[test]
    fn recovers_the_rating_from_soft_and_from_drawn_judgements() {
        for (soft, slack) in [(true, 0.12), (false, 0.35)] {
            let (rows, comparisons, truth) = judged(300, 3000, soft);
            let fit = fit_pairs(&rows, &comparisons, &PairOptions::default(), &Control::default()).unwrap();
            let w: Vec<f64> = fit.model.weights.iter().map(|w| w * fit.slope).collect();
            assert!((w[0] - 2.0).abs() < slack && (w[1] + 1.0).abs() < slack, "{soft}: {w:?}");
            let held_out = fit.held_out.unwrap();
            assert!(held_out.unseen_documents && held_out.pairs > 300, "{held_out:?}");
            assert!(held_out.accuracy > 0.8 && held_out.loss < 0.45, "{held_out:?}");
            let of = |row| fit.rating(&rows, row);
            assert!((of(3) - of(7) - (truth[3] - truth[7])).abs() < 3.0 * slack);
        }
    }

    #[test]
    fn the_order_of_a_pair_does_not_matter() {
        let (rows, comparisons, _) = judged(40, 200, false);
        let turned: Vec<_> = comparisons
            .iter()
            .map(|c| Comparison { a: c.b, b: c.a, probability: 1.0 - c.probability })
            .collect();
        let options = PairOptions { l2: Some(0.5), ..Default::default() };
        let fit = |c: &[Comparison]| fit_pairs(&rows, c, &options, &Control::default()).unwrap();
        let (one, other) = (fit(&comparisons), fit(&turned));
        let apart = one.model.weights.iter().zip(&other.model.weights).map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f64::max) < 1e-9);
        assert_eq!(one.tried.len(), 1);
    }

    #[test]
    fn contradictions_are_found_with_their_places() {
        let c = |a, b, probability| Comparison { a, b, probability };
        let list = [c(0, 1, 0.9), c(2, 1, 1.0), c(1, 0, 0.8), c(1, 2, 0.5), c(0, 1, 0.7), c(2, 1, 0.6)];
        assert_eq!(contradictions(&list), [Contradiction { a: 0, b: 1, for_a: vec![0, 4], for_b: vec![2] }]);
    }

    #[test]
    fn refuses_judgements_that_say_nothing() {
        let (rows, good, _) = judged(5, 10, false);
        let go = |c: &[Comparison], o: PairOptions| fit_pairs(&rows, c, &o, &Control::default()).unwrap_err();
        let d = PairOptions::default;
        let c = |a, b, probability| Comparison { a, b, probability };
        let e = go(&[c(0, 1, 1.0), c(2, 2, 1.0)], d());
        assert_eq!((e.code(), e.location().row), (Code::InvalidValue, Some(1)));
        assert_eq!(go(&[c(0, 1, f64::NAN)], d()).code(), Code::InvalidValue);
        assert_eq!(go(&[c(0, 9, 1.0)], d()).code(), Code::InvalidValue);
        assert_eq!(go(&[c(0, 1, 0.5)], d()).code(), Code::EmptyInput);
        assert_eq!(go(&[], d()).code(), Code::EmptyInput);
        assert!(go(&[c(0, 1, 1.0), c(1, 0, 1.0), c(2, 3, 0.5)], d()).message().contains("cancel"));
        let mut same = Dense::new(2);
        (0..5).for_each(|_| same.push(&[1.0, 2.0]).unwrap());
        let e = fit_pairs(&same, &good, &d(), &Control::default()).unwrap_err();
        assert!(e.message().contains("same features"), "{e}");
        assert_eq!(go(&good, PairOptions { l2: Some(-1.0), ..d() }).code(), Code::InvalidArgument);
        assert_eq!(go(&good, PairOptions { folds: 1, ..d() }).code(), Code::InvalidArgument);
        assert_eq!(go(&good, PairOptions { candidates: vec![], ..d() }).code(), Code::InvalidArgument);
    }
}
