//! Rényi differential privacy of the sampled Gaussian mechanism.
//!
//! The Rényi divergence of order `alpha` is `ln(A) / (alpha - 1)` with `A = E[r^alpha]`, where `r = exp(l(x))` and
//! `x ~ N(0, sigma^2)` (Mironov, Talwar and Zhang 2019, "Rényi Differential Privacy of the Sampled Gaussian Mechanism").
//! Since `E[r] = 1`,
//!
//! ```text
//! A - 1 = E[r^alpha - 1 - alpha (r - 1)]
//! ```
//!
//! whose integrand is never negative: both forms below sum positive terms, so that neither a tiny sample rate nor an
//! order close to one costs digits. The series with signs of the paper (section 3.3) loses `A - 1` to cancellation
//! there; it is what the tests compare with.

use crate::mechanism::Mechanism;
use crate::normal::density;

/// The orders among which the best is taken: those of Opacus, and the larger ones of dp-accounting.
pub static DEFAULT_ORDERS: std::sync::LazyLock<Vec<f64>> = std::sync::LazyLock::new(|| {
    let tenths = (11..110).map(|i| f64::from(i) / 10.0);
    tenths.chain((11..64).map(f64::from)).chain([128.0, 256.0, 512.0, 1024.0]).collect()
});

/// The Rényi divergence of one step at an order above 1, in nats; the larger one of both directions of adjacency (which
/// is the one that adds the example: the paper's theorem 5).
///
/// Integer orders up to 4,096 are a finite sum (the paper's section 3.3, equation for integer alpha), the others an
/// integral by the trapezoid rule, which converges exponentially here. Relative error about 1e-12. Where the noise is so
/// little (a multiplier below 0.02) that the integral would take seconds, orders between integers get an upper bound from
/// both of these: `ln A` is convex in the order (van Erven and Harremoës 2014, corollary 2).
pub fn epsilon_at_order(mechanism: &Mechanism, alpha: f64) -> f64 {
    let (sigma, q) = (mechanism.noise_multiplier(), mechanism.sample_rate());
    if q == 0.0 {
        0.0
    } else if q == 1.0 {
        alpha / (2.0 * sigma * sigma)
    } else if alpha.fract() == 0.0 && alpha <= 4096.0 {
        ln_1p_exp(finite_sum(sigma, q, alpha as u32)) / (alpha - 1.0)
    } else if sigma < LITTLE && alpha <= 4096.0 {
        let ln_a =
            |order: f64| if order == 1.0 { 0.0 } else { ln_1p_exp(finite_sum(sigma, q, order as u32)) };
        let (below, above) = (alpha.floor(), alpha.ceil());
        ((above - alpha) * ln_a(below) + (alpha - below) * ln_a(above)) / (alpha - 1.0)
    } else {
        ln_1p_exp(integral(mechanism, alpha)) / (alpha - 1.0)
    }
}

/// Noise multipliers below which an integral has too many poles near the real line.
const LITTLE: f64 = 0.02;

/// `ln(1 + exp(x))`.
fn ln_1p_exp(x: f64) -> f64 {
    if x > 0.0 { x + (-x).exp().ln_1p() } else { x.exp().ln_1p() }
}

/// A sum of numbers that are given by their logarithms, as a logarithm.
pub(crate) fn log_sum(terms: &[f64]) -> f64 {
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + terms.iter().map(|t| (t - largest).exp()).sum::<f64>().ln()
}

/// `ln(A - 1)` as `sum_{k >= 2} C(alpha, k) (1 - q)^(alpha - k) q^k (exp((k^2 - k) / (2 sigma^2)) - 1)`.
fn finite_sum(sigma: f64, q: f64, alpha: u32) -> f64 {
    let n = f64::from(alpha);
    let mut ln_choose = n.ln();
    let terms: Vec<f64> = (2..=alpha)
        .map(|k| {
            let k = f64::from(k);
            ln_choose += ((n - k + 1.0) / k).ln();
            let exponent = (k * k - k) / (2.0 * sigma * sigma);
            let ln_exp_m1 = exponent + (-(-exponent).exp_m1()).ln();
            ln_choose + (n - k) * (-q).ln_1p() + k * q.ln() + ln_exp_m1
        })
        .collect();
    log_sum(&terms)
}

/// `ln(A - 1)` as an integral over `x`.
fn integral(mechanism: &Mechanism, alpha: f64) -> f64 {
    let sigma = mechanism.noise_multiplier();
    // The mass of r^alpha N(0, sigma^2) lies between 0 and alpha. Its poles lie pi sigma^2 off the real line.
    let step = (sigma / 8.0).min(sigma * sigma / 4.0);
    let (low, high) = (-12.0 * sigma, alpha + 12.0 * sigma);
    let points = ((high - low) / step).ceil() as usize;
    let terms: Vec<f64> = (0..=points)
        .map(|i| {
            let x = low + i as f64 * step;
            let l = mechanism.loss(x);
            ln_convex(l, alpha) + ln_density(x / sigma) + (step / sigma).ln()
        })
        .collect();
    log_sum(&terms)
}

fn ln_density(z: f64) -> f64 {
    if z.abs() < 30.0 { density(z).ln() } else { -0.5 * z * z - crate::normal::LN_SQRT_2PI }
}

/// `ln(r^alpha - 1 - alpha (r - 1))` for `r = exp(l)`.
fn ln_convex(l: f64, alpha: f64) -> f64 {
    let y = l.exp_m1();
    if (alpha * y).abs() < 0.05 {
        // The binomial series from its second term on.
        let (mut term, mut sum) = (alpha * (alpha - 1.0) / 2.0 * y * y, 0.0);
        let mut k = 2.0;
        while sum + term != sum {
            sum += term;
            term *= (alpha - k) * y / (k + 1.0);
            k += 1.0;
        }
        return sum.ln();
    }
    if alpha * l > 40.0 {
        // The rest, scaled: exp(-alpha l) + alpha (exp(l) - 1) exp(-alpha l), where exp(l) may overflow.
        let rest = (-alpha * l).exp() * (1.0 - alpha) + alpha * ((1.0 - alpha) * l).exp();
        return alpha * l + (-rest).ln_1p();
    }
    ((alpha * l).exp_m1() - alpha * y).max(0.0).ln()
}

/// The divergence of all steps together, rounded up by more than its error.
fn composed(steps: &[(Mechanism, u64)], alpha: f64) -> f64 {
    steps.iter().map(|(m, n)| *n as f64 * epsilon_at_order(m, alpha)).sum::<f64>() * (1.0 + 1e-10)
}

/// What is no number is no bound: nothing may be less.
fn ordered(bound: f64) -> f64 {
    if bound.is_nan() { f64::INFINITY } else { bound }
}

/// The least epsilon over the orders, and its order:
/// `r(alpha) + ln(1 - 1/alpha) - ln(delta alpha) / (alpha - 1)`, at least 0 (Canonne, Kamath and Steinke 2020, "The
/// Discrete Gaussian for Differential Privacy", proposition 12).
pub(crate) fn epsilon(steps: &[(Mechanism, u64)], delta: f64, orders: &[f64]) -> (f64, f64) {
    let convert = |&alpha: &f64| {
        let divergence = composed(steps, alpha);
        (ordered(divergence + (-1.0 / alpha).ln_1p() - (delta * alpha).ln() / (alpha - 1.0)), alpha)
    };
    let best = orders.iter().map(convert).min_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or((f64::INFINITY, f64::NAN), |(epsilon, alpha)| (epsilon.max(0.0), alpha))
}

/// The least delta over the orders at which `epsilon` holds, by the same conversion.
pub(crate) fn delta(steps: &[(Mechanism, u64)], epsilon: f64, orders: &[f64]) -> (f64, f64) {
    let convert = |&alpha: &f64| {
        let divergence = composed(steps, alpha);
        let ln_delta = (alpha - 1.0) * (divergence - epsilon + (-1.0 / alpha).ln_1p()) - alpha.ln();
        (ordered(ln_delta.exp()), alpha)
    };
    let best = orders.iter().map(convert).min_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or((1.0, f64::NAN), |(delta, alpha)| (delta.min(1.0), alpha))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The series with signs (Mironov, Talwar and Zhang 2019, section 3.3), as an independent form.
    fn series(sigma: f64, q: f64, alpha: f64) -> f64 {
        let z0 = sigma * sigma * (1.0 / q - 1.0).ln() + 0.5;
        let (mut sum, mut choose) = (0.0, 1.0_f64);
        for i in 0..200_000 {
            let i = f64::from(i);
            let j = alpha - i;
            let part = |k: f64, rest: f64, at: f64| {
                let power = k * q.ln() + rest * (1.0 - q).ln() + (k * k - k) / (2.0 * sigma * sigma);
                0.5 * exp_erfc(power, at / (std::f64::consts::SQRT_2 * sigma))
            };
            let term = choose * (part(i, j, i - z0) + part(j, i, z0 - j));
            sum += term;
            if i > alpha && term.abs() < 1e-17 {
                break;
            }
            choose *= (alpha - i) / (i + 1.0);
        }
        sum.ln() / (alpha - 1.0)
    }

    /// `exp(power) erfc(x)` where one overflows and the other underflows.
    fn exp_erfc(power: f64, x: f64) -> f64 {
        if x < 15.0 {
            return power.exp() * libm::erfc(x);
        }
        let s = 0.5 / (x * x);
        (power - x * x).exp() / (x * std::f64::consts::PI.sqrt()) * (1.0 - s + 3.0 * s * s - 15.0 * s * s * s)
    }

    #[test]
    fn an_integral_equals_the_series_and_the_sum() {
        for (sigma, q) in [(2.5, 0.01), (1.0, 0.1), (0.7, 0.01), (4.0, 0.3)] {
            let mechanism = Mechanism::new(sigma, q).unwrap();
            for alpha in [1.1, 1.5, 2.5, 5.3, 10.9] {
                let (ours, series) = (epsilon_at_order(&mechanism, alpha), series(sigma, q, alpha));
                // The series is the one that loses digits.
                assert!(
                    (ours - series).abs() < 1e-6 * series + 1e-13,
                    "{sigma} {q} {alpha}: {ours} {series}"
                );
            }
            for alpha in [2.0, 3.0, 17.0, 64.0, 512.0] {
                let sum = finite_sum(sigma, q, alpha as u32);
                let integral = integral(&mechanism, alpha);
                assert!(
                    (sum - integral).abs() < 1e-9 * (1.0 + sum.abs()),
                    "{sigma} {q} {alpha}: {sum} {integral}"
                );
            }
        }
    }

    #[test]
    fn a_tiny_sample_rate_keeps_its_digits() {
        // Order 2 is ln(1 + q^2 (exp(1 / sigma^2) - 1)), and the orders around it are continuous with it.
        let mechanism = Mechanism::new(1.0, 1e-8).unwrap();
        let exact = 1e-16 * 1.0_f64.exp_m1();
        for alpha in [2.0, 2.0 + 1e-9] {
            assert!((epsilon_at_order(&mechanism, alpha) / exact - 1.0).abs() < 1e-7, "{alpha}");
        }
    }

    #[test]
    fn with_little_noise_orders_between_integers_have_an_upper_bound() {
        let (less, more) = (Mechanism::new(0.0199, 0.01).unwrap(), Mechanism::new(0.0201, 0.01).unwrap());
        for alpha in [1.1, 1.9, 2.5, 10.9] {
            let (bound, exact) = (epsilon_at_order(&less, alpha), epsilon_at_order(&more, alpha));
            // More noise costs less; the bound is not far.
            assert!(exact < bound && bound < 2.0 * exact, "{alpha}: {exact} {bound}");
        }
        // Nearly no noise is no reason to compute for minutes.
        let nearly = Mechanism::new(1e-3, 0.01).unwrap();
        let (epsilon, _) = epsilon(&[(nearly, 10)], 1e-5, &DEFAULT_ORDERS);
        assert!(epsilon > 1e5);
    }

    #[test]
    fn divergence_grows_with_the_order() {
        let mechanism = Mechanism::new(0.6, 0.02).unwrap();
        let values: Vec<f64> = DEFAULT_ORDERS.iter().map(|a| epsilon_at_order(&mechanism, *a)).collect();
        assert!(values.is_sorted() && values[0] > 0.0);
    }
}
