//! The Gaussian mechanism without sampling, exactly.
//!
//! Steps with `q = 1` compose into one Gaussian mechanism with `mu^2 = sum 1 / sigma_i^2`, of which
//!
//! ```text
//! delta(epsilon) = Phi(mu/2 - epsilon/mu) - exp(epsilon) Phi(-mu/2 - epsilon/mu)
//! ```
//!
//! (Balle and Wang 2018, "Improving the Gaussian Mechanism for Differential Privacy", theorem 8).

use crate::normal::{density, mills_ratio, upper_tail};

/// The delta at which `epsilon >= 0` holds.
pub(crate) fn delta(mu: f64, epsilon: f64) -> f64 {
    if mu == 0.0 {
        return 0.0;
    }
    let (a, b) = (epsilon / mu - 0.5 * mu, epsilon / mu + 0.5 * mu);
    // exp(epsilon) density(b) = density(a): the exponential, which may overflow, is never formed.
    let with = if a < 0.0 { upper_tail(a) } else { density(a) * mills_ratio(a) };
    let without = density(a) * mills_ratio(b);
    // Rounding up: a bound on the error of the difference, then on that of the density.
    ((with - without + 1e-14 * (with + without)) * (1.0 + 1e-12)).clamp(0.0, 1.0)
}

/// The least epsilon that holds at `delta`, rounded up.
pub(crate) fn epsilon(mu: f64, target: f64) -> f64 {
    if delta(mu, 0.0) <= target {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    while delta(mu, high) > target {
        low = high;
        high *= 2.0;
    }
    while high - low > 1e-13 * high {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if delta(mu, middle) <= target { high = middle } else { low = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_values() {
        // dp-accounting, privacy_loss_distribution_test: three Gaussians of sigma sqrt(3) are one of sigma 1.
        assert!((delta(1.0, 1.0) - 0.126_936).abs() < 1e-6);
        // TF Privacy, compute_dp_sgd_privacy_test: sigma 0.7, two full batches.
        let mu = 2.0_f64.sqrt() / 0.7;
        assert!((epsilon(mu, 1e-5) - 10.122_494_6).abs() < 1e-6);
    }

    #[test]
    fn both_are_inverse_and_epsilon_is_on_the_safe_side() {
        for mu in [0.01, 0.3, 1.0, 5.0, 40.0] {
            for target in [0.1, 1e-5, 1e-12, 1e-100] {
                let found = epsilon(mu, target);
                assert!(delta(mu, found) <= target, "{mu} {target}");
                let less = found * (1.0 - 1e-9);
                assert!(found == 0.0 || delta(mu, less) >= target * (1.0 - 1e-6), "{mu} {target}");
            }
        }
    }
}
