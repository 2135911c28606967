use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use gristmill_core::{Error, Result};

use crate::item::Ranking;
use crate::{Budget, Decimal};

/// Whether the document that crosses the line of the budget is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Crossing {
    /// The best documents until the budget is reached: the one that crosses the line is the last one kept.
    #[default]
    Include,
    /// The best documents as long as the budget is not exceeded: the one that crosses is left out.
    Exclude,
}

/// How the budget is divided among the values of a group column. Inside a group the best are kept.
///
/// The whole budget is first made a whole number of units, then each group's part of it is cut; both are
/// rounded up when the crossing document is included, and down when it is not. What a group cannot fill
/// is not given to others: it is reported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Quotas {
    /// Relative shares by group; a group that is not named gets nothing. Without shares each group gets
    /// its part of the pool, so that the mixture stays as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<BTreeMap<String, Decimal>>,
}

/// What to select.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Criteria {
    /// How much. Without a budget the threshold alone decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Keep only scores of at least this (at most, with `lowest`), before any noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Whether the lowest scores are the best.
    pub lowest: bool,
    /// Sample without replacement in proportion to `exp(score / temperature)` instead of taking the best.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Seed of ties and noise.
    pub seed: u64,
    /// What becomes of the document that crosses the line.
    pub crossing: Crossing,
    /// A budget for each group of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Quotas>,
}

impl Criteria {
    /// Refuses criteria that contradict themselves.
    pub fn validate(&self) -> Result<()> {
        let refuse = |option, why: &str| Err(Error::invalid_argument(option, why));
        if self.budget.is_none() && self.threshold.is_none() {
            return refuse("budget", "nothing says how much to select: give a budget, a threshold or both");
        }
        if self.threshold.is_some_and(|t| !t.is_finite()) {
            return refuse("threshold", "must be a finite number");
        }
        if self.temperature.is_some_and(|t| !(t.is_finite() && t > 0.0)) {
            return refuse("temperature", "must be a finite number above 0; leave it out to take the best");
        }
        if self.temperature.is_some() && self.budget.is_none() {
            return refuse(
                "temperature",
                "sampling needs a budget; a threshold alone leaves nothing to draw",
            );
        }
        if let Some(quotas) = &self.quotas {
            if self.budget.is_none() {
                return refuse("quotas", "a budget is needed to divide it among groups");
            }
            quotas.weights()?;
        }
        Ok(())
    }

    pub(crate) fn ranking(&self) -> Ranking {
        Ranking { lowest: self.lowest, temperature: self.temperature, seed: self.seed }
    }

    /// Whether a score lies on the wrong side of the threshold.
    #[inline]
    pub(crate) fn beyond_threshold(&self, score: f64) -> bool {
        match self.threshold {
            None => false,
            Some(t) if self.lowest => score > t,
            Some(t) => score < t,
        }
    }
}

impl Quotas {
    /// Whole-number weights in the proportion of the shares, with their sum; `None` without shares.
    pub(crate) fn weights(&self) -> Result<Option<(BTreeMap<&str, u64>, u64)>> {
        let Some(shares) = &self.shares else { return Ok(None) };
        let scale = shares.values().map(|s| s.scale()).max().unwrap_or(0);
        let mut sum = 0u64;
        let mut weights = BTreeMap::new();
        for (group, share) in shares {
            let weight = share.scaled(scale);
            let grown = weight.and_then(|w| sum.checked_add(w));
            let (Some(weight), Some(grown)) = (weight, grown) else {
                return Err(Error::invalid_argument("quotas", "the shares have too many digits together"));
            };
            sum = grown;
            weights.insert(group.as_str(), weight);
        }
        if sum == 0 {
            return Err(Error::invalid_argument("quotas", "the shares are all zero"));
        }
        Ok(Some((weights, sum)))
    }
}
