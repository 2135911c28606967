use gristmill_core::{Code, Error, Result};
use serde::{Deserialize, Serialize};

use crate::mechanism::Mechanism;
use crate::{gaussian, pld, rdp};

/// How epsilon is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Method {
    /// The composed privacy loss distribution: the tightest upper bound here, and the default.
    #[default]
    Pld,
    /// Rényi differential privacy at the best of [`DEFAULT_ORDERS`](crate::DEFAULT_ORDERS): an upper bound.
    Rdp,
    /// Gaussian differential privacy in its central limit (Bu, Dong, Long and Su 2020, "Deep Learning with Gaussian
    /// Differential Privacy"): `mu^2 = sum q_i^2 (exp(1 / sigma_i^2) - 1)`. An estimate that lies **below** the truth.
    Gdp,
}

/// What steps have cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spent {
    /// In nats.
    pub epsilon: f64,
    /// The probability that the bound does not cover.
    pub delta: f64,
    /// How it was computed.
    pub method: Method,
    /// Whether this is an upper bound on what was spent. Where it is not, the figure is for diagnostics and no claim of
    /// privacy can rest on it.
    pub guaranteed: bool,
    /// The Rényi order that was best.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<f64>,
}

/// Steps of one kind that followed each other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Recorded {
    /// The standard deviation of the noise, in units of the sensitivity.
    pub noise_multiplier: f64,
    /// The probability with which an example takes part in a step.
    pub sample_rate: f64,
    /// How many steps.
    pub steps: u64,
}

/// The least delta that is stated.
const LEAST_DELTA: f64 = 1e-300;

const FORMAT: &str = "gristmill-privacy-accountant/1";

/// Records the steps of a run and says what they cost in privacy.
///
/// Steps may differ in noise and sample rate, as when either follows a schedule. The state is plain data: with serde it
/// goes into a checkpoint, and a restored accountant goes on counting.
///
/// ```
/// use gristmill_privacy::{Accountant, Mechanism, Method};
///
/// let mut accountant = Accountant::new();
/// accountant.record(Mechanism::new(1.1, 0.01)?, 9_000);
/// accountant.record(Mechanism::new(0.9, 0.01)?, 1_000);
/// let pld = accountant.epsilon(1e-5, Method::Pld)?;
/// let rdp = accountant.epsilon(1e-5, Method::Rdp)?;
/// assert!(pld.epsilon < rdp.epsilon && accountant.steps() == 10_000);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Accountant {
    steps: Vec<(Mechanism, u64)>,
}

impl Accountant {
    /// An accountant of no steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records so many steps of a kind. What was recorded cannot be taken back.
    pub fn record(&mut self, mechanism: Mechanism, steps: u64) {
        if steps > 0 {
            append(&mut self.steps, mechanism, steps);
        }
    }

    /// How many steps were recorded.
    pub fn steps(&self) -> u64 {
        self.steps.iter().fold(0, |sum, (_, n)| sum.saturating_add(*n))
    }

    /// What was recorded, in order.
    pub fn recorded(&self) -> Vec<Recorded> {
        let plain = |(mechanism, steps): &(Mechanism, u64)| Recorded {
            noise_multiplier: mechanism.noise_multiplier(),
            sample_rate: mechanism.sample_rate(),
            steps: *steps,
        };
        self.steps.iter().map(plain).collect()
    }

    /// The epsilon that all steps together keep at `delta`, for data sets that differ in one example that is added or
    /// removed.
    ///
    /// # Errors
    /// A delta outside of 0 to 1 (both excluded), or so small that the errors of the computation would decide the answer;
    /// more than 256 different kinds of steps with [`Method::Pld`].
    pub fn epsilon(&self, delta: f64, method: Method) -> Result<Spent> {
        check_delta(delta)?;
        let steps = self.kinds();
        let mut order = None;
        let epsilon = match method {
            _ if steps.is_empty() => 0.0,
            Method::Pld => match unsampled(&steps) {
                Some(mu) => gaussian::epsilon(mu, delta),
                None => pld::epsilon(&steps, delta)?,
            },
            Method::Rdp => {
                let (epsilon, best) = rdp::epsilon(&steps, delta, &rdp::DEFAULT_ORDERS);
                order = Some(best);
                epsilon
            }
            Method::Gdp => gaussian::epsilon(central_limit(&steps), delta),
        };
        finite(Spent { epsilon, delta, method, guaranteed: method != Method::Gdp, order })
    }

    /// The delta that all steps together keep at `epsilon`.
    ///
    /// # Errors
    /// An epsilon that is negative or not finite.
    pub fn delta(&self, epsilon: f64, method: Method) -> Result<Spent> {
        if !(epsilon >= 0.0 && epsilon.is_finite()) {
            let message = format!("an epsilon of {epsilon} is not zero or more");
            return Err(Error::invalid_argument("epsilon", message));
        }
        let steps = self.kinds();
        let mut order = None;
        let delta = match method {
            _ if steps.is_empty() => 0.0,
            Method::Pld => match unsampled(&steps) {
                Some(mu) => gaussian::delta(mu, epsilon),
                None => pld::delta(&steps, epsilon)?,
            },
            Method::Rdp => {
                let (delta, best) = rdp::delta(&steps, epsilon, &rdp::DEFAULT_ORDERS);
                order = Some(best);
                delta
            }
            Method::Gdp => gaussian::delta(central_limit(&steps), epsilon),
        };
        // Gaussian noise never leaves a delta of 0: what is too small for a number with all digits is rounded up.
        let delta = if steps.is_empty() { 0.0 } else { delta.max(LEAST_DELTA) };
        finite(Spent { epsilon, delta, method, guaranteed: method != Method::Gdp, order })
    }

    /// Each kind of step once, with how many there were in all; those that nobody takes part in tell nothing.
    fn kinds(&self) -> Vec<(Mechanism, u64)> {
        let mut kinds: Vec<(Mechanism, u64)> = Vec::new();
        let mut sorted: Vec<_> = self.steps.iter().filter(|(m, _)| m.sample_rate() > 0.0).copied().collect();
        let key = |m: &Mechanism| (m.noise_multiplier().to_bits(), m.sample_rate().to_bits());
        sorted.sort_by_key(|(m, _)| key(m));
        for (mechanism, steps) in sorted {
            append(&mut kinds, mechanism, steps);
        }
        kinds
    }
}

/// Adds steps to the last entry where they are of its kind. What is more than an integer holds goes on in another entry: no
/// step may be forgotten.
fn append(entries: &mut Vec<(Mechanism, u64)>, mechanism: Mechanism, steps: u64) {
    match entries.last_mut() {
        Some((last, count)) if *last == mechanism && count.checked_add(steps).is_some() => *count += steps,
        _ => entries.push((mechanism, steps)),
    }
}

pub(crate) fn check_delta(delta: f64) -> Result<()> {
    if !(delta > 0.0 && delta < 1.0) {
        return Err(Error::invalid_argument("delta", format!("a delta of {delta} is not between 0 and 1"))
            .hint("customary is less than one over the number of examples"));
    }
    if delta < pld::FLOOR {
        return Err(Error::invalid_argument("delta", format!("a delta of {delta:e} is below 1e-250"))
            .hint("64-bit numbers cannot tell what it costs"));
    }
    Ok(())
}

/// The `mu` of steps that all use every example.
fn unsampled(steps: &[(Mechanism, u64)]) -> Option<f64> {
    let all = steps.iter().all(|(m, _)| m.sample_rate() == 1.0);
    // The sum of positive terms is rounded up.
    let squared: f64 =
        steps.iter().map(|(m, n)| *n as f64 / (m.noise_multiplier() * m.noise_multiplier())).sum();
    all.then(|| squared.sqrt() * (1.0 + 1e-12))
}

fn central_limit(steps: &[(Mechanism, u64)]) -> f64 {
    let squared = |(m, n): &(Mechanism, u64)| {
        let (q, sigma) = (m.sample_rate(), m.noise_multiplier());
        *n as f64 * q * q * (1.0 / (sigma * sigma)).exp_m1()
    };
    steps.iter().map(squared).sum::<f64>().sqrt()
}

/// An answer that is no number would compare as "within the budget" somewhere: it is an error.
fn finite(spent: Spent) -> Result<Spent> {
    if !spent.epsilon.is_finite() || !spent.delta.is_finite() {
        let message = format!("the {:?} accountant has no finite answer for these steps", spent.method);
        return Err(Error::new(Code::InvalidArgument, message.to_lowercase())
            .hint("the noise is too small for so many steps"));
    }
    Ok(spent)
}

/// The form in files.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Saved {
    format: String,
    recorded: Vec<Recorded>,
}

impl From<Accountant> for Saved {
    fn from(accountant: Accountant) -> Self {
        Self { format: FORMAT.into(), recorded: accountant.recorded() }
    }
}

impl TryFrom<Saved> for Accountant {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        if saved.format != FORMAT {
            let message = format!("{:?} is not the state of a privacy accountant", saved.format);
            return Err(Error::new(Code::CorruptData, message).hint(format!("this reads {FORMAT}")));
        }
        let mut accountant = Self::new();
        for (row, step) in saved.recorded.iter().enumerate() {
            let mechanism =
                Mechanism::new(step.noise_multiplier, step.sample_rate).map_err(|e| e.at_row(row as u64))?;
            accountant.record(mechanism, step.steps);
        }
        Ok(accountant)
    }
}
