//! Random numbers that are the same on every run and whatever the threads.
//!
//! Every draw comes from ChaCha8 keyed by `(seed, XXH3-64 of the purpose)`, on the stream numbered by the
//! piece of work (the block of draws, the bag, the start). So pieces may run in any order and on any thread,
//! and one option that changes how much one purpose draws never shifts another.

use gristmill_core::hash::hash64;
use rand::{Rng, RngExt, SeedableRng};
pub(crate) use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Gamma, Open01};

/// The generator for piece `index` of `purpose` under `seed`.
pub(crate) fn stream(seed: u64, purpose: &str, index: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&hash64(0, purpose.as_bytes()).to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(index);
    rng
}

/// The first `k` of a uniform random permutation of `0..n`.
pub(crate) fn choose(rng: &mut impl Rng, n: usize, k: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..n).collect();
    for i in 0..k {
        let j = rng.random_range(i..n);
        all.swap(i, j);
    }
    all.truncate(k);
    all
}

/// Dirichlet(`alpha`), exact for concentrations far below one.
///
/// `Gamma(a)` is drawn in logarithms as `ln Gamma(a + 1) + ln(U) / a`: for `a = 0.001` the variate itself
/// underflows to zero in about half of all draws, and a draw where all of them do has no direction left.
/// A concentration of zero gives a weight of zero.
pub(crate) struct Dirichlet {
    parts: Vec<Option<(Gamma<f64>, Option<f64>)>>,
}

impl Dirichlet {
    /// `alpha` is finite and not negative, and at least one of them is positive.
    pub(crate) fn new(alpha: impl IntoIterator<Item = f64>) -> Self {
        let part = |a: f64| {
            let (shape, boost) = if a < 1.0 { (a + 1.0, Some(1.0 / a)) } else { (a, None) };
            Gamma::new(shape, 1.0).ok().filter(|_| a > 0.0).map(|gamma| (gamma, boost))
        };
        Self { parts: alpha.into_iter().map(part).collect() }
    }

    /// One draw into `out`, which has one place per concentration.
    pub(crate) fn sample(&self, rng: &mut impl Rng, out: &mut [f64]) {
        let mut top = f64::NEG_INFINITY;
        for (x, part) in out.iter_mut().zip(&self.parts) {
            *x = match part {
                None => f64::NEG_INFINITY,
                Some((gamma, None)) => gamma.sample(rng).ln(),
                Some((gamma, Some(inverse))) => {
                    let u: f64 = Open01.sample(rng);
                    gamma.sample(rng).ln() + u.ln() * inverse
                }
            };
            top = top.max(*x);
        }
        let mut sum = 0.0;
        for x in out.iter_mut() {
            *x = (*x - top).exp();
            sum += *x;
        }
        out.iter_mut().for_each(|x| *x /= sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_fixed_and_apart() {
        let first = |s, p, i| stream(s, p, i).next_u64();
        assert_eq!(first(7, "bag", 3), first(7, "bag", 3));
        let all = [first(7, "bag", 3), first(8, "bag", 3), first(7, "fold", 3), first(7, "bag", 4)];
        assert_eq!(std::collections::BTreeSet::from(all).len(), 4);
    }

    #[test]
    fn dirichlet_has_its_mean_and_variance() {
        // E = a_i / a, Var = a_i (a - a_i) / (a^2 (a + 1)).
        for alpha in [[0.2, 0.5, 1.3, 0.0], [0.002, 0.003, 0.005, 0.0], [3.0, 4.0, 5.0, 0.0]] {
            let total: f64 = alpha.iter().sum();
            let dirichlet = Dirichlet::new(alpha);
            let mut rng = stream(1, "test", 0);
            let n = 40_000;
            let (mut sum, mut square, mut x) = ([0.0; 4], [0.0; 4], [0.0; 4]);
            for _ in 0..n {
                dirichlet.sample(&mut rng, &mut x);
                assert!((x.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                for j in 0..4 {
                    sum[j] += x[j];
                    square[j] += x[j] * x[j];
                }
            }
            for j in 0..4 {
                let mean = sum[j] / n as f64;
                let expected = alpha[j] / total;
                let variance = expected * (1.0 - expected) / (total + 1.0);
                assert!(
                    (mean - expected).abs() <= 4.0 * (variance / n as f64).sqrt(),
                    "{alpha:?} {j} {mean}"
                );
                assert!((square[j] / n as f64 - mean * mean - variance).abs() < 0.01);
            }
        }
    }

    #[test]
    fn choose_is_uniform_without_repeats() {
        let mut counts = [0; 6];
        let mut rng = stream(2, "test", 0);
        for _ in 0..6000 {
            let picked = choose(&mut rng, 6, 2);
            assert_ne!(picked[0], picked[1]);
            picked.into_iter().for_each(|i| counts[i] += 1);
        }
        assert!(counts.iter().all(|c| (1800..2200).contains(c)), "{counts:?}");
    }
}
