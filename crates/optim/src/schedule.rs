use std::f64::consts::PI;

use gristmill_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// What the learning rate is multiplied by, step by step (from 1).
///
/// All of them warm up linearly: step `t` of a warm-up of `w` steps has the factor `t / w`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Schedule {
    /// 1 after the warm-up.
    Constant {
        /// Steps of the warm-up.
        warmup: u64,
    },
    /// From 1 in a straight line to `floor` at step `total`, and there from then on.
    Linear {
        /// Steps of the warm-up.
        warmup: u64,
        /// Steps in all.
        total: u64,
        /// The factor in the end.
        floor: f64,
    },
    /// From 1 along half a cosine to `floor` at step `total`, and there from then on.
    Cosine {
        /// Steps of the warm-up.
        warmup: u64,
        /// Steps in all.
        total: u64,
        /// The factor in the end.
        floor: f64,
    },
    /// Warm-up, stable, decay: 1 until `decay` steps before `total`, then in a straight line to `floor` (Hu et al. 2024).
    Wsd {
        /// Steps of the warm-up.
        warmup: u64,
        /// Steps in all.
        total: u64,
        /// Steps of the decay.
        decay: u64,
        /// The factor in the end.
        floor: f64,
    },
    /// Cosines of `period` steps to `floor`, each with a warm-up of its own (Ibrahim et al. 2024: re-warming for continued
    /// pre-training).
    Rewarm {
        /// Steps of every warm-up.
        warmup: u64,
        /// Steps of a cycle.
        period: u64,
        /// The factor at the end of a cycle.
        floor: f64,
    },
    /// No end: a warm-up, a cosine of `cooldown` steps to `constant`, then that for as long as one likes; from step
    /// `anneal_from` on, exponentially to `floor` in `anneal` steps (Ibrahim et al. 2024, section 7.4).
    Infinite {
        /// Steps of the warm-up.
        warmup: u64,
        /// Steps of the cosine.
        cooldown: u64,
        /// The factor that stays.
        constant: f64,
        /// The step from which on it is annealed; `null` while that is not known.
        anneal_from: Option<u64>,
        /// Steps of annealing.
        anneal: u64,
        /// The factor in the end, above 0.
        floor: f64,
    },
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule::Constant { warmup: 0 }
    }
}

/// How far `t` is from `start` to `end`, from 0 to 1.
fn share(t: u64, start: u64, end: u64) -> f64 {
    match t {
        _ if t >= end => 1.0,
        _ if t <= start => 0.0,
        _ => (t - start) as f64 / (end - start) as f64,
    }
}

fn cosine(share: f64, floor: f64) -> f64 {
    floor + (1.0 - floor) * 0.5 * (1.0 + (PI * share).cos())
}

impl Schedule {
    /// The factor of step `t`, from 1 on.
    pub fn factor(&self, t: u64) -> f64 {
        let warm = |t: u64, warmup: u64| (t < warmup).then(|| t as f64 / warmup as f64);
        match *self {
            Schedule::Constant { warmup } => warm(t, warmup).unwrap_or(1.0),
            Schedule::Linear { warmup, total, floor } => {
                warm(t, warmup).unwrap_or_else(|| 1.0 + (floor - 1.0) * share(t, warmup, total))
            }
            Schedule::Cosine { warmup, total, floor } => {
                warm(t, warmup).unwrap_or_else(|| cosine(share(t, warmup, total), floor))
            }
            Schedule::Wsd { warmup, total, decay, floor } => {
                let start = total.saturating_sub(decay);
                warm(t, warmup).unwrap_or_else(|| 1.0 + (floor - 1.0) * share(t, start, total))
            }
            Schedule::Rewarm { warmup, period, floor } => {
                let within = (t.max(1) - 1) % period.max(1) + 1;
                warm(within, warmup).unwrap_or_else(|| cosine(share(within, warmup, period), floor))
            }
            Schedule::Infinite { warmup, cooldown, constant, anneal_from, anneal, floor } => {
                let before = |t| {
                    warm(t, warmup).unwrap_or_else(|| cosine(share(t, warmup, warmup + cooldown), constant))
                };
                match anneal_from {
                    Some(from) if t > from => {
                        let top = before(from);
                        top * (floor / top).powf(share(t, from, from + anneal))
                    }
                    _ => before(t),
                }
            }
        }
    }

    /// Checks that its numbers make sense.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::invalid_argument("schedule", what.to_owned()));
        let share = |x: f64| (0.0..=1.0).contains(&x);
        match *self {
            Schedule::Linear { warmup, total, floor } | Schedule::Cosine { warmup, total, floor } => {
                if total <= warmup || !share(floor) {
                    return wrong("expected more steps in all than of the warm-up, and a floor from 0 to 1");
                }
            }
            Schedule::Wsd { warmup, total, decay, floor } => {
                if decay == 0 || total < warmup.saturating_add(decay) || !share(floor) {
                    return wrong(
                        "expected at least warmup + decay steps in all, some of decay, and a floor from 0 to 1",
                    );
                }
            }
            Schedule::Rewarm { warmup, period, floor } => {
                if period <= warmup || !share(floor) {
                    return wrong("expected a period longer than the warm-up, and a floor from 0 to 1");
                }
            }
            Schedule::Infinite { constant, anneal, floor, .. } => {
                if !share(constant) || constant == 0.0 || anneal == 0 || !share(floor) || floor == 0.0 {
                    return wrong(
                        "expected a constant and a floor above 0 and at most 1, and steps of annealing",
                    );
                }
            }
            Schedule::Constant { .. } => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_at_the_corners() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        let cosine = Schedule::Cosine { warmup: 10, total: 110, floor: 0.1 };
        for (t, factor) in [(1, 0.1), (10, 1.0), (60, 0.55), (110, 0.1), (500, 0.1)] {
            close(cosine.factor(t), factor);
        }
        let wsd = Schedule::Wsd { warmup: 4, total: 100, decay: 20, floor: 0.0 };
        for (t, factor) in [(2, 0.5), (4, 1.0), (80, 1.0), (90, 0.5), (100, 0.0)] {
            close(wsd.factor(t), factor);
        }
        let linear = Schedule::Linear { warmup: 0, total: 10, floor: 0.5 };
        close(linear.factor(5), 0.75);
        let rewarm = Schedule::Rewarm { warmup: 2, period: 10, floor: 0.2 };
        for (t, factor) in [(1, 0.5), (2, 1.0), (10, 0.2), (11, 0.5), (12, 1.0), (20, 0.2)] {
            close(rewarm.factor(t), factor);
        }
        let infinite = |anneal_from| Schedule::Infinite {
            warmup: 10,
            cooldown: 90,
            constant: 0.5,
            anneal_from,
            anneal: 10,
            floor: 0.005,
        };
        close(infinite(None).factor(1_000_000), 0.5);
        close(infinite(Some(200)).factor(200), 0.5);
        close(infinite(Some(200)).factor(205), 0.05);
        close(infinite(Some(200)).factor(300), 0.005);
        assert!(Schedule::Cosine { warmup: 10, total: 10, floor: 0.1 }.check().is_err());
    }
}
