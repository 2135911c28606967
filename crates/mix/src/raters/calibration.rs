//! Margins to probabilities.

use serde::{Deserialize, Serialize};

use super::logistic::sigmoid;

/// The probability of label 1 at a margin `z`: `1 / (1 + e^{−(slope·z + offset)})` (Platt, 1999).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Platt {
    /// What a margin is multiplied with; below 1 where margins are over-confident.
    pub slope: f64,
    /// What is added.
    pub offset: f64,
}

impl Default for Platt {
    fn default() -> Self {
        Self { slope: 1.0, offset: 0.0 }
    }
}

impl Platt {
    /// The log-odds at a margin.
    #[inline]
    pub fn log_odds(&self, margin: f64) -> f64 {
        self.slope * margin + self.offset
    }

    /// The probability at a margin.
    pub fn probability(&self, margin: f64) -> f64 {
        sigmoid(self.log_odds(margin))
    }

    /// Fits both numbers to margins of rows that the classifier did not see, by maximum likelihood; `weights`
    /// say how much each row counts. Labels are drawn half a row (by weight) towards the middle, as Platt does,
    /// so that margins that separate the labels perfectly have an answer. Without offset (`symmetric`), a
    /// margin of zero stays even odds.
    ///
    /// Newton's method with halved steps where one would not help (Lin, Lin and Weng, 2007).
    pub fn fit(margins: &[f64], labels: &[f64], weights: &[f64], symmetric: bool) -> Self {
        let total = |of: fn(f64) -> f64| labels.iter().zip(weights).map(|(&p, w)| w * of(p)).sum::<f64>();
        let (ones, zeros) = (total(|p| p), total(|p| 1.0 - p));
        if margins.is_empty() || ones <= 0.0 && zeros <= 0.0 {
            return Self::default();
        }
        // How many rows of weight one these are worth.
        let mass: f64 = weights.iter().sum();
        let unit = weights.iter().map(|w| w * w).sum::<f64>() / mass;
        let (high, low) = ((ones + unit) / (ones + 2.0 * unit), unit / (zeros + 2.0 * unit));
        let label = |p: f64| p * high + (1.0 - p) * low;
        let loss = |at: &Self| -> f64 {
            let one = |((&z, &p), &w): ((&f64, &f64), &f64)| {
                let t = at.log_odds(z);
                w * (t.max(0.0) + (-t.abs()).exp().ln_1p() - label(p) * t)
            };
            margins.iter().zip(labels).zip(weights).map(one).sum()
        };
        let mut at = Self { slope: 0.0, offset: 0.0 };
        let mut value = loss(&at);
        for _ in 0..100 {
            let (mut g, mut h) = ([0.0; 2], [[1e-12, 0.0], [0.0, 1e-12]]);
            for ((&z, &p), &w) in margins.iter().zip(labels).zip(weights) {
                let s = at.probability(z);
                let (residual, curvature) = (w * (s - label(p)), w * s * (1.0 - s));
                g[0] += residual * z;
                g[1] += residual;
                h[0][0] += curvature * z * z;
                h[0][1] += curvature * z;
                h[1][1] += curvature;
            }
            let step = if symmetric {
                [g[0] / h[0][0], 0.0]
            } else {
                let determinant = h[0][0] * h[1][1] - h[0][1] * h[0][1];
                [
                    (h[1][1] * g[0] - h[0][1] * g[1]) / determinant,
                    (h[0][0] * g[1] - h[0][1] * g[0]) / determinant,
                ]
            };
            let mut scale = 1.0;
            let next = loop {
                let next = Self { slope: at.slope - scale * step[0], offset: at.offset - scale * step[1] };
                let there = loss(&next);
                if there < value {
                    break Some((next, there));
                }
                scale /= 2.0;
                if scale < 1e-10 {
                    break None;
                }
            };
            let Some((next, there)) = next else { break };
            let gained = value - there;
            (at, value) = (next, there);
            if gained <= 1e-12 * value.abs() {
                break;
            }
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::rng;

    #[test]
    fn finds_the_line_that_labels_were_drawn_by() {
        let mut rng = rng::stream(1, "test", 0);
        let margins: Vec<f64> = (0..20_000).map(|_| rng.random_range(-6.0..6.0)).collect();
        let truth = Platt { slope: 0.6, offset: -0.8 };
        let labels: Vec<f64> = margins
            .iter()
            .map(|&z| f64::from(u8::from(rng.random_range(0.0..1.0) < truth.probability(z))))
            .collect();
        let found = Platt::fit(&margins, &labels, &vec![1.0; 20_000], false);
        assert!((found.slope - 0.6).abs() < 0.03 && (found.offset + 0.8).abs() < 0.06, "{found:?}");
        // A weight is a number of equal rows.
        let [once, twice] = [1, 2].map(|n| {
            let repeat =
                |v: &[f64]| v[..500].iter().flat_map(|&x| std::iter::repeat_n(x, n)).collect::<Vec<_>>();
            let weights = vec![if n == 1 { 2.0 } else { 1.0 }; 500 * n];
            Platt::fit(&repeat(&margins), &repeat(&labels), &weights, false)
        });
        assert!((once.slope - twice.slope).abs() < 0.01, "{once:?} {twice:?}");
    }

    #[test]
    fn what_is_separable_stays_finite_and_symmetry_holds() {
        let (margins, labels) = ([-2.0, -1.0, 1.0, 3.0], [0.0, 0.0, 1.0, 1.0]);
        let found = Platt::fit(&margins, &labels, &[1.0; 4], false);
        assert!(found.slope > 0.3 && found.slope < 10.0, "{found:?}");
        let symmetric = Platt::fit(&margins, &labels, &[1.0; 4], true);
        assert_eq!(symmetric.offset, 0.0);
        assert!(symmetric.slope > 0.3);
        assert_eq!(Platt::fit(&[], &[], &[], false), Platt::default());
    }
}
