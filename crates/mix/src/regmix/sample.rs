use std::cmp::Ordering;

use gristmill_core::{Error, Result};
use rand::RngExt;

use crate::rng::{self, Dirichlet};
use crate::{Matrix, runs};

/// How [`sample_mixtures`] draws. The defaults are those published with RegMix.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SampleOptions {
    /// How many mixtures; default 512.
    pub n: usize,
    /// The power to which the prior is raised before it is normalised again: below 1 it evens the domains
    /// out, and 1 leaves them; default 0.5.
    pub temperature: f64,
    /// The smallest factor from prior to concentration: small ones draw mixtures of few domains; default 0.1.
    pub min_strength: f64,
    /// The largest factor: large ones draw mixtures close to the prior; default 5.
    pub max_strength: f64,
    /// How many factors between the two, evenly spaced in logarithm; default 15.
    pub strengths: usize,
    /// No domain may have more than this many times its own (untempered) share: with the final budget equal
    /// to all data, how many epochs a domain may be repeated; default 15.
    pub max_usage: f64,
    /// Weights below this become zero, and all others are rounded to multiples of it. With a budget of `T`
    /// tokens a domain then has at least `T` times this many; default 2e-4.
    pub min_weight: f64,
    /// How many draws are made per mixture that is kept; default 100.
    pub oversample: usize,
    /// Default 0.
    pub seed: u64,
}

impl Default for SampleOptions {
    fn default() -> Self {
        Self {
            n: 512,
            temperature: 0.5,
            min_strength: 0.1,
            max_strength: 5.0,
            strengths: 15,
            max_usage: 15.0,
            min_weight: 2e-4,
            oversample: 100,
            seed: 0,
        }
    }
}

/// What [`sample_mixtures`] drew.
#[derive(Debug, Clone, PartialEq)]
pub struct SampledMixtures {
    /// One mixture per row. On the grid of `min_weight`, rows sum to one only within about half a grid step
    /// per domain, as in the published runs.
    pub weights: Matrix,
    /// Draws made.
    pub drawn: usize,
    /// Draws that asked more of a domain than `max_usage` allows.
    pub over_used: usize,
    /// Draws that equal another after rounding.
    pub duplicates: usize,
}

/// Draws mixtures to train small runs on, as RegMix publishes it (sail-sg/regmix, `synthesize_mixture.py`).
///
/// With `p` the `prior` normalised to one and `q = p^temperature / Σ p^temperature`, each of
/// `n * oversample` draws
///
/// 1. picks a strength `s` at random from `strengths` values evenly spaced in logarithm,
/// 2. draws `w ~ Dirichlet(q s)`,
/// 3. is dropped when any `w_i > min(1, max_usage p_i)`,
/// 4. has weights below `min_weight` set to zero, is normalised, and rounded to multiples of `min_weight`.
///
/// The draws are sorted (last domain first, as `numpy.lexsort`), neighbours with an L1 distance of at most
/// 1e-5 are merged, and `n` of the rest are kept at random. The published code draws at every strength and
/// then keeps one of these at random, which is the same distribution. `prior` may be token counts; a domain
/// of share zero stays at zero. The same seed gives the same mixtures.
///
/// ```
/// use gristmill_mix::{SampleOptions, sample_mixtures};
///
/// let prior = [0.6, 0.3, 0.1];
/// let sampled = sample_mixtures(&prior, &SampleOptions { n: 64, ..Default::default() })?;
/// assert_eq!((sampled.weights.rows(), sampled.weights.columns()), (64, 3));
/// # Ok::<(), gristmill_core::Error>(())
/// ```
///
/// # Errors
/// Options out of range, a prior that is negative, NaN or all zero, or too few distinct mixtures left.
pub fn sample_mixtures(prior: &[f64], options: &SampleOptions) -> Result<SampledMixtures> {
    let o = options;
    o.check()?;
    runs::check_shares(prior, &[])?;
    let total: f64 = prior.iter().sum();
    let bound: Vec<f64> = prior.iter().map(|p| (p / total * o.max_usage).min(1.0)).collect();
    let tempered: Vec<f64> =
        prior.iter().map(|&p| if p > 0.0 { (p / total).powf(o.temperature) } else { 0.0 }).collect();
    let norm: f64 = tempered.iter().sum();
    let dirichlets: Vec<Dirichlet> = log_space(o.min_strength, o.max_strength, o.strengths)
        .map(|s| Dirichlet::new(tempered.iter().map(|q| q / norm * s)))
        .collect();

    let drawn = o.n.saturating_mul(o.oversample);
    let mut rng = rng::stream(o.seed, "sample_mixtures", 0);
    let mut kept: Vec<Vec<f64>> = Vec::new();
    let mut w = vec![0.0; prior.len()];
    for _ in 0..drawn {
        dirichlets[rng.random_range(0..dirichlets.len())].sample(&mut rng, &mut w);
        if w.iter().zip(&bound).all(|(w, bound)| w <= bound) {
            kept.extend(to_grid(&w, o.min_weight));
        }
    }
    let over_used = drawn - kept.len();
    let inside = kept.len();
    kept.sort_by(|a, b| {
        let pairs = a.iter().zip(b).rev();
        pairs.map(|(x, y)| x.total_cmp(y)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    });
    kept.dedup_by(|next, last| next.iter().zip(last.iter()).map(|(x, y)| (x - y).abs()).sum::<f64>() <= 1e-5);
    if kept.len() < o.n {
        return Err(Error::invalid_argument(
            "n",
            format!(
                "{} mixtures wanted, {} are left of {drawn} draws ({over_used} over-used a domain, {} were \
                 duplicates)",
                o.n,
                kept.len(),
                inside - kept.len()
            ),
        )
        .hint("raise oversample or maxUsage, or lower minWeight"));
    }
    let mut weights = Matrix::zeros(o.n, prior.len());
    for (i, pick) in rng::choose(&mut rng, kept.len(), o.n).into_iter().enumerate() {
        weights.row_mut(i).copy_from_slice(&kept[pick]);
    }
    Ok(SampledMixtures { weights, drawn, over_used, duplicates: inside - kept.len() })
}

impl SampleOptions {
    fn check(&self) -> Result<()> {
        let positive = |name: &str, value: f64| match value.is_finite() && value > 0.0 {
            true => Ok(()),
            false => Err(Error::invalid_argument(name, format!("{value} is not positive"))),
        };
        positive("temperature", self.temperature)?;
        positive("minStrength", self.min_strength)?;
        positive("maxStrength", self.max_strength)?;
        positive("maxUsage", self.max_usage)?;
        positive("minWeight", self.min_weight)?;
        if self.max_strength < self.min_strength {
            return Err(Error::invalid_argument("maxStrength", "smaller than minStrength"));
        }
        if self.min_weight >= 1.0 {
            return Err(Error::invalid_argument("minWeight", "no weight of 1 or more is left to give"));
        }
        for (name, value) in [("n", self.n), ("strengths", self.strengths), ("oversample", self.oversample)] {
            if value == 0 {
                return Err(Error::invalid_argument(name, "must be at least 1"));
            }
        }
        Ok(())
    }
}

/// `n` values from `low` to `high`, evenly spaced in logarithm; `low` alone when `n` is 1.
fn log_space(low: f64, high: f64, n: usize) -> impl Iterator<Item = f64> {
    let step = if n > 1 { (high / low).ln() / (n - 1) as f64 } else { 0.0 };
    (0..n).map(move |i| low * (step * i as f64).exp())
}

/// Drops weights below `step` and rounds the rest to its multiples, or `None` when nothing is left.
fn to_grid(w: &[f64], step: f64) -> Option<Vec<f64>> {
    let mut out: Vec<f64> = w.iter().map(|&x| if x < step { 0.0 } else { x }).collect();
    let sum: f64 = out.iter().sum();
    out.iter_mut().for_each(|x| *x = (*x / sum / step).round_ties_even() * step);
    (sum > 0.0).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gristmill_core::Code;

    /// Token shares of the 17 domains of the Pile in the published runs.
    const PILE: [f64; 17] = [
        0.113285273,
        0.079608651,
        0.003913491,
        0.185375901,
        0.051081359,
        0.015962925,
        0.101750772,
        0.003707518,
        0.066529351,
        0.001750772,
        0.027085479,
        0.236869207,
        0.01184346,
        0.007929969,
        0.008032956,
        0.038825953,
        0.046446962,
    ];

    #[test]
    fn keeps_every_published_rule() {
        let o = SampleOptions::default();
        let s = sample_mixtures(&PILE, &o).unwrap();
        assert_eq!((s.weights.rows(), s.drawn), (512, 51_200));
        for row in s.weights.iter_rows() {
            let sum: f64 = row.iter().sum();
            assert!((sum - 1.0).abs() <= 0.5 * 17.0 * o.min_weight + 1e-12, "{sum}");
            for (w, p) in row.iter().zip(PILE) {
                let steps = w / o.min_weight;
                assert!((steps - steps.round()).abs() < 1e-9, "{w} is off the grid");
                // The bound holds before weights below the grid are shared out among the rest.
                assert!(*w <= (p * 15.0).min(1.0) * 1.004 + o.min_weight, "{w} of {p}");
            }
        }
        let mut rows: Vec<_> = s.weights.iter_rows().map(|r| format!("{r:?}")).collect();
        rows.sort();
        rows.dedup();
        assert_eq!(rows.len(), 512, "no mixture twice");
    }

    #[test]
    fn is_a_function_of_its_seed() {
        let o = SampleOptions { n: 32, ..Default::default() };
        let first = sample_mixtures(&PILE, &o).unwrap();
        assert_eq!(first, sample_mixtures(&PILE, &o).unwrap());
        let tokens: Vec<f64> = PILE.iter().map(|p| p * 1e12).collect();
        let scaled = sample_mixtures(&tokens, &o).unwrap().weights;
        let apart = |a: &Matrix, b: &Matrix| {
            a.as_slice().iter().zip(b.as_slice()).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
        };
        assert!(apart(&scaled, &first.weights) < 1e-9, "token counts serve as a prior");
        let other = sample_mixtures(&PILE, &SampleOptions { seed: 1, ..o }).unwrap();
        assert_ne!(first.weights, other.weights);
    }

    #[test]
    fn a_domain_of_share_zero_stays_out() {
        let s = sample_mixtures(&[0.7, 0.0, 0.3], &SampleOptions { n: 50, ..Default::default() }).unwrap();
        assert!(s.weights.column(1).iter().all(|&w| w == 0.0));
    }

    #[test]
    fn refuses_what_cannot_be_drawn() {
        let bad = |prior: &[f64], o: SampleOptions| sample_mixtures(prior, &o).unwrap_err();
        let d = SampleOptions::default;
        assert_eq!(bad(&[0.5, -0.5], d()).location().column.as_deref(), Some("domain 1"));
        assert_eq!(bad(&[0.0, 0.0], d()).code(), Code::EmptyInput);
        assert_eq!(bad(&[f64::NAN, 1.0], d()).code(), Code::InvalidValue);
        assert_eq!(bad(&[1.0, 1.0], SampleOptions { n: 0, ..d() }).location().column.as_deref(), Some("n"));
        assert_eq!(
            bad(&[1.0, 1.0], SampleOptions { min_strength: 9.0, ..d() }).code(),
            Code::InvalidArgument
        );
        let few = bad(&[1.0, 1.0], SampleOptions { n: 100, min_weight: 0.25, ..d() });
        assert!(few.message().contains("are left of"), "{few}");
    }
}
