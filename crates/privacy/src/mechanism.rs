use gristmill_core::{Error, Result};

use crate::normal;

/// One kind of step: the Gaussian mechanism on a Poisson sample.
///
/// With the sensitivity as the unit, the sum is seen as `x ~ N(0, sigma^2)` without the example, and as
/// `x ~ (1 - q) N(0, sigma^2) + q N(1, sigma^2)` with it. What an observer learns from `x` is the loss
///
/// ```text
/// l(x) = ln(1 - q + q exp((2 x - 1) / (2 sigma^2)))
/// ```
///
/// (Abadi et al. 2016, "Deep Learning with Differential Privacy"; that this pair of distributions is the worst one is
/// Zhu, Dong and Wang 2022, "Optimal Accounting of Differential Privacy via Characteristic Function", theorem 11).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mechanism {
    sigma: f64,
    q: f64,
}

impl Mechanism {
    /// Noise of `noise_multiplier` sensitivities on a sample that takes every example with probability `sample_rate`.
    ///
    /// # Errors
    /// A noise multiplier that is not positive and finite (from 1e-3 to 1e6), a sample rate outside of 0 to 1.
    pub fn new(noise_multiplier: f64, sample_rate: f64) -> Result<Self> {
        if !(1e-3..=1e6).contains(&noise_multiplier) {
            let message =
                format!("a noise multiplier of {noise_multiplier} is outside of 0.001 to 1,000,000");
            let hint = "without noise there is no privacy: no epsilon is finite";
            return Err(Error::invalid_argument("noiseMultiplier", message).hint(hint));
        }
        check_rate(sample_rate)?;
        Ok(Self { sigma: noise_multiplier, q: sample_rate })
    }

    /// The standard deviation of the noise, in units of the sensitivity.
    pub fn noise_multiplier(&self) -> f64 {
        self.sigma
    }

    /// The probability with which an example takes part in a step.
    pub fn sample_rate(&self) -> f64 {
        self.q
    }

    /// How far the distributions with and without the example are apart, from 0 to 1: `q (2 Φ(1 / (2 σ)) − 1)`.
    pub(crate) fn total_variation(&self) -> f64 {
        self.q * (1.0 - 2.0 * normal::upper_tail(0.5 / self.sigma))
    }

    /// The loss at `x`.
    pub(crate) fn loss(&self, x: f64) -> f64 {
        let y = (x - 0.5) / (self.sigma * self.sigma);
        // The first form cancels where q is small, the second one overflows.
        if y > 700.0 {
            y + (self.q + (1.0 - self.q) * (-y).exp()).ln()
        } else {
            (self.q * y.exp_m1()).ln_1p()
        }
    }

    /// Where the loss is `l`; minus infinity for a loss below all that there are.
    pub(crate) fn position(&self, l: f64) -> f64 {
        let y = if l > 0.0 {
            // The sum of two positive terms: nothing cancels.
            l + ((self.q - (1.0 - self.q) * (-l).exp_m1()) / self.q).ln()
        } else {
            ((l.exp_m1() + self.q) / self.q).max(0.0).ln()
        };
        0.5 + y * self.sigma * self.sigma
    }

    /// Where the loss turns from a constant, `ln(1 - q)`, to a line.
    pub(crate) fn kink(&self) -> f64 {
        0.5 + self.sigma * self.sigma * (1.0 / self.q - 1.0).ln()
    }

    /// The density of `x` without the example.
    pub(crate) fn density_without(&self, x: f64) -> f64 {
        normal::density(x / self.sigma) / self.sigma
    }

    /// The density of `x` with the example. Not that without it times `exp(loss)`: with little noise one of them is zero
    /// and the other one infinite.
    pub(crate) fn density_with(&self, x: f64) -> f64 {
        (1.0 - self.q) * self.density_without(x) + self.q * self.density_without(x - 1.0)
    }

    /// The probability of an `x` of at least `at`, with the example.
    pub(crate) fn upper_tail_with(&self, at: f64) -> f64 {
        (1.0 - self.q) * normal::upper_tail(at / self.sigma)
            + self.q * normal::upper_tail((at - 1.0) / self.sigma)
    }

    /// The probability of an `x` of at least `at`, without the example.
    pub(crate) fn upper_tail_without(&self, at: f64) -> f64 {
        normal::upper_tail(at / self.sigma)
    }
}

pub(crate) fn check_rate(sample_rate: f64) -> Result<()> {
    if !(0.0..=1.0).contains(&sample_rate) {
        let message = format!("a sample rate of {sample_rate} is no probability");
        return Err(Error::invalid_argument("sampleRate", message)
            .hint("it is the probability with which an example takes part in a step, 0 to 1"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_is_the_inverse_of_loss() {
        for (sigma, q) in [(1.0, 0.01), (0.3, 1.0), (5.0, 1e-6), (1.5, 0.5)] {
            let mechanism = Mechanism::new(sigma, q).unwrap();
            for z in [-1.0, 0.0, 0.5, 1.0, 4.0, 12.0] {
                let x = 0.5 + z * sigma;
                let back = mechanism.position(mechanism.loss(x));
                // Far below, the loss hardly depends on x.
                assert!((back - x).abs() < 1e-6 * (1.0 + x.abs()), "sigma {sigma}, q {q}: {x} became {back}");
            }
        }
        assert_eq!(Mechanism::new(1.0, 0.5).unwrap().position(-1.0), f64::NEG_INFINITY);
    }

    #[test]
    fn parameters_out_of_range_are_refused_by_name() {
        for (sigma, q, option) in [
            (0.0, 0.1, "noiseMultiplier"),
            (f64::NAN, 0.1, "noiseMultiplier"),
            (f64::INFINITY, 0.1, "noiseMultiplier"),
            (-1.0, 0.1, "noiseMultiplier"),
            (1.0, 1.1, "sampleRate"),
            (1.0, -0.1, "sampleRate"),
            (1.0, f64::NAN, "sampleRate"),
        ] {
            let error = Mechanism::new(sigma, q).unwrap_err();
            assert_eq!(error.location().column.as_deref(), Some(option), "{sigma} {q}");
        }
    }
}
