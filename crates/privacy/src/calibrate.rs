use gristmill_core::{Code, Error, Result};

use crate::accountant::{Accountant, Method, check_delta};
use crate::mechanism::Mechanism;

/// What a run may cost, and how it samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// The epsilon that may be spent, in nats.
    pub epsilon: f64,
    /// At this delta.
    pub delta: f64,
    /// The probability with which an example takes part in a step.
    pub sample_rate: f64,
    /// How many steps.
    pub steps: u64,
}

/// By how much the answer may exceed the least noise multiplier.
const PRECISION: f64 = 1e-5;

/// The least noise multiplier that keeps the budget: rounded up by at most a hundred-thousandth, and never one whose
/// epsilon by the same method exceeds the budget.
///
/// # Errors
/// A budget out of range; [`Method::Gdp`], which guarantees nothing; a budget that no noise multiplier up to 1e6 keeps.
pub fn calibrate_noise(budget: &Budget, method: Method) -> Result<f64> {
    let Budget { epsilon, delta, sample_rate, steps } = *budget;
    if !(epsilon > 0.0 && epsilon.is_finite()) {
        let message = format!("an epsilon of {epsilon} is not above zero and finite");
        return Err(Error::invalid_argument("epsilon", message));
    }
    check_delta(delta)?;
    if steps == 0 || sample_rate == 0.0 {
        let what = if steps == 0 { "steps" } else { "sampleRate" };
        return Err(Error::invalid_argument(what, "nothing is spent: any noise multiplier keeps the budget"));
    }
    if method == Method::Gdp {
        let message = "GDP under-estimates epsilon: noise that is calibrated by it does not keep the budget";
        return Err(Error::invalid_argument("method", message).hint("use pld or rdp"));
    }
    let keeps = |sigma: f64| -> Result<bool> {
        let mut accountant = Accountant::new();
        accountant.record(Mechanism::new(sigma, sample_rate)?, steps);
        Ok(accountant.epsilon(delta, method)?.epsilon <= epsilon)
    };
    let (mut low, mut high) = (0.0, 1.0);
    while !keeps(high)? {
        low = high;
        high *= 2.0;
        if high > 1e6 {
            let message =
                format!("no noise multiplier up to 1e6 keeps an epsilon of {epsilon} by this method");
            return Err(Error::new(Code::InvalidArgument, message)
                .at_column("epsilon")
                .hint("allow a larger epsilon or delta, or fewer steps"));
        }
    }
    // Below, where one was enough at once.
    while low == 0.0 {
        let half = 0.5 * high;
        if half < 1e-3 {
            return Ok(high);
        }
        if keeps(half)? { high = half } else { low = half }
    }
    while high - low > PRECISION * low {
        let middle = (low * high).sqrt();
        if keeps(middle)? { high = middle } else { low = middle }
    }
    Ok(high)
}
