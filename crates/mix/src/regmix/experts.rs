use gristmill_core::{Code, Error, Result};
use rayon::prelude::*;

use crate::{Matrix, rng, runs};

/// One model per domain, by what each says of the same target tokens: the loss of any mixture follows without
/// training on it (Belenki et al., "Optimizing Pre-Training Data Mixtures with Mixtures of Data Expert Models",
/// 2025).
///
/// With `p_ti` the probability that the expert of domain `i` gives to token `t`, the estimate for a mixture `w`
/// is that of the mixture of the models, `-1/T Σ_t ln Σ_i w_i p_ti`, which is convex in `w`. A model of the
/// mixture of the data does better or worse than that; but both know which domain helps with which token. So it
/// serves as a predictor by itself, and better as a feature beside the weights
/// ([`MixtureModel::fit_with`](crate::MixtureModel::fit_with)).
///
/// ```
/// use gristmill_mix::{Experts, Matrix};
///
/// // Two tokens; the first expert knows one and the second the other.
/// let log_probs = Matrix::from_rows(&[[0.8f64.ln(), 0.1f64.ln()], [0.1f64.ln(), 0.6f64.ln()]]);
/// let experts = Experts::new(vec!["web".into(), "code".into()], &log_probs)?;
/// let loss = experts.losses(&Matrix::from_rows(&[[0.5, 0.5]]))?[0];
/// assert!((loss + (0.45f64.ln() + 0.35f64.ln()) / 2.0).abs() < 1e-6);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Experts {
    domains: Vec<String>,
    /// Expert by expert, its probability of each token over the largest one of that token.
    shares: Vec<f32>,
    /// The mean over the tokens of the logarithm of that largest probability.
    largest: f64,
}

/// The form in files.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Saved {
    domains: Vec<String>,
    shares: Vec<f32>,
    largest: f64,
}

/// What a token counts at least where no expert with a weight knows it: its loss is then 69 nats above the best
/// expert's.
const FLOOR: f32 = 1e-30;

impl Experts {
    /// Experts of these domains from natural log-probabilities: one row per target token, one column per domain.
    ///
    /// # Errors
    /// No tokens, names that do not fit, a log-probability that is positive, infinite or NaN.
    pub fn new(domains: Vec<String>, log_probs: &Matrix) -> Result<Self> {
        runs::check_names(&domains, log_probs.columns(), "domain")?;
        if log_probs.rows() == 0 {
            return Err(Error::new(Code::EmptyInput, "no target tokens that experts could be compared on"));
        }
        let tokens = log_probs.rows();
        let mut shares = vec![0.0; log_probs.as_slice().len()];
        let mut largest = 0.0;
        for (t, row) in log_probs.iter_rows().enumerate() {
            if let Some(i) = row.iter().position(|p| !(p.is_finite() && *p <= 0.0)) {
                return Err(Error::new(Code::InvalidValue, format!("a log-probability of {}", row[i]))
                    .at_row(t as u64)
                    .at_column(&domains[i]));
            }
            let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            largest += top;
            row.iter().enumerate().for_each(|(i, p)| shares[i * tokens + t] = (p - top).exp() as f32);
        }
        Ok(Self { domains, shares, largest: largest / log_probs.rows() as f64 })
    }

    /// The domains, one expert each, in the order of the weights of a mixture.
    pub fn domains(&self) -> &[String] {
        &self.domains
    }

    /// How many target tokens the estimate is a mean of.
    pub fn tokens(&self) -> usize {
        self.shares.len() / self.domains.len()
    }

    /// The rows of these numbers of a table of log-probabilities: a random sample of `tokens`, in order, or all of
    /// them. With 4,096 tokens the standard error of an estimate is about a hundredth of a token's.
    pub fn sample_rows(rows: usize, tokens: usize, seed: u64) -> Vec<usize> {
        if tokens >= rows {
            return (0..rows).collect();
        }
        let mut chosen = rng::choose(&mut rng::stream(seed, "expert tokens", 0), rows, tokens);
        chosen.sort_unstable();
        chosen
    }

    /// The estimated loss of each mixture, in nats per token.
    ///
    /// # Errors
    /// Rows of another width than there are domains.
    pub fn losses(&self, mixtures: &Matrix) -> Result<Vec<f64>> {
        let k = self.domains.len();
        if mixtures.columns() != k {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("{} weights for {k} experts", mixtures.columns()),
            ));
        }
        let rows: Vec<&[f64]> = mixtures.iter_rows().collect();
        Ok(rows.into_par_iter().with_min_len(16).map(|weights| self.loss(weights)).collect())
    }

    fn loss(&self, weights: &[f64]) -> f64 {
        /// Tokens at a time: a few vector registers full.
        const BLOCK: usize = 64;
        /// Factors of one logarithm: a product of eight is far from underflow at the floor.
        const LANES: usize = BLOCK / 8;
        let n = self.tokens();
        let mut sum = 0.0;
        for first in (0..n).step_by(BLOCK) {
            let length = BLOCK.min(n - first);
            let mut mixed = [0.0f32; BLOCK];
            for (i, weight) in weights.iter().enumerate() {
                let shares = &self.shares[i * n + first..][..length];
                let weight = *weight as f32;
                mixed.iter_mut().zip(shares).for_each(|(m, q)| *m += weight * q);
            }
            // What is beyond the last token counts as one.
            mixed[length..].fill(1.0);
            let mut products = [1.0f64; LANES];
            for lanes in mixed.as_chunks::<LANES>().0 {
                products.iter_mut().zip(lanes).for_each(|(p, m)| *p *= f64::from(m.max(FLOOR)));
            }
            sum += products.iter().map(|p| p.ln()).sum::<f64>();
        }
        -self.largest - sum / n as f64
    }
}

impl From<Experts> for Saved {
    fn from(experts: Experts) -> Self {
        Self { domains: experts.domains, shares: experts.shares, largest: experts.largest }
    }
}

impl TryFrom<Saved> for Experts {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        let Saved { domains, shares, largest } = saved;
        let k = domains.len();
        let whole = k > 0 && !shares.is_empty() && shares.len().is_multiple_of(k);
        let fine = |q: &f32| (0.0..=1.0).contains(q);
        if !whole || !largest.is_finite() || !shares.iter().all(fine) {
            return Err(Error::new(Code::InvalidModel, "the experts of the model are damaged"));
        }
        Ok(Self { domains, shares, largest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("d{i}")).collect()
    }

    fn log_probs(tokens: usize, k: usize) -> Matrix {
        let data = (0..tokens * k).map(|i| -0.1 - 9.0 * ((i * 7919 % 1009) as f64 / 1009.0)).collect();
        Matrix::new(tokens, k, data).unwrap()
    }

    #[test]
    fn is_the_mean_of_the_mixture_token_by_token() {
        let table = log_probs(101, 3);
        let experts = Experts::new(names(3), &table).unwrap();
        let mixtures = Matrix::from_rows(&[[0.2, 0.5, 0.3], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]);
        for (w, got) in mixtures.iter_rows().zip(experts.losses(&mixtures).unwrap()) {
            let token = |row: &[f64]| row.iter().zip(w).map(|(p, w)| w * p.exp()).sum::<f64>().ln();
            let expected = -table.iter_rows().map(token).sum::<f64>() / 101.0;
            assert!((got - expected).abs() < 1e-6, "{got} {expected}");
        }
    }

    #[test]
    fn a_token_that_no_weighted_expert_knows_has_a_large_but_finite_loss() {
        let experts = Experts::new(names(2), &Matrix::from_rows(&[[-0.1, -900.0]])).unwrap();
        let loss = experts.losses(&Matrix::from_rows(&[[0.0, 1.0]])).unwrap()[0];
        assert!(loss > 60.0 && loss.is_finite(), "{loss}");
    }

    #[test]
    fn refuses_what_is_no_probability() {
        let bad =
            |p: f64| Experts::new(names(2), &Matrix::from_rows(&[[-1.0, -1.0], [-1.0, p]])).unwrap_err();
        for p in [0.5, f64::NAN, f64::NEG_INFINITY] {
            let e = bad(p);
            assert_eq!((e.code(), e.location().row), (Code::InvalidValue, Some(1)));
            assert_eq!(e.location().column.as_deref(), Some("d1"));
        }
        assert_eq!(Experts::new(names(2), &Matrix::zeros(0, 2)).unwrap_err().code(), Code::EmptyInput);
        assert!(Experts::new(names(3), &log_probs(4, 2)).is_err());
        let forged = r#"{"domains":["a","b"],"shares":[1.0,0.5,0.1],"largest":-1.0}"#;
        assert!(serde_json::from_str::<Experts>(forged).is_err());
        let experts = Experts::new(names(2), &log_probs(9, 2)).unwrap();
        let text = serde_json::to_string(&experts).unwrap();
        assert_eq!(serde_json::from_str::<Experts>(&text).unwrap(), experts);
        assert!(experts.losses(&Matrix::zeros(1, 3)).is_err());
    }

    #[test]
    fn tokens_are_sampled_in_order_and_by_seed() {
        let all = Experts::sample_rows(5, 9, 1);
        assert_eq!(all, [0, 1, 2, 3, 4]);
        let some = Experts::sample_rows(1000, 50, 1);
        assert!(some.len() == 50 && some.is_sorted_by(|a, b| a < b));
        assert_ne!(some, Experts::sample_rows(1000, 50, 2));
    }
}
