//! What a search found.

use gristmill_mix::plots::{self, Bar, Group, Panel};
use gristmill_mix::stats::Agreement;
use gristmill_mix::{MixtureModel, Optimum};
use serde::Serialize;

use super::options::PredictorChoice;
use crate::jobs::Phase;

/// The result of a search. The report file holds the same, without timings.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MixSearchSummary {
    /// The version of this form.
    pub schema: u32,
    /// The report file.
    pub output: String,
    /// The directory of the runs: `mixtures.csv`, `losses.csv`, `models/*.json`.
    pub work: String,
    /// The drawing, where one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plot: Option<String>,
    /// What was trained.
    pub proxy: String,
    /// How text became tokens.
    pub normalizer: String,
    /// Words of the shared vocabulary.
    pub vocabulary: u64,
    /// Tokens of one run.
    pub tokens: u64,
    /// The domains, in the order of all weights.
    pub domains: Vec<DomainSummary>,
    /// The targets.
    pub targets: Vec<TargetSummary>,
    /// Runs that were trained here.
    pub runs: u64,
    /// Those of them that an earlier start of this search had trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed: Option<u64>,
    /// Runs that came from elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalSummary>,
    /// Documents of the pool that equal one of a target, and were used for nothing.
    pub in_target: u64,
    /// Documents of the pool without a domain, used for nothing either.
    pub without_domain: u64,
    /// Rows of pool and targets that could not be read, under `onError: "quarantine"`.
    pub quarantined: u64,
    /// What was found, for each target, and for their mean when there are several.
    pub objectives: Vec<ObjectiveReport>,
    /// Wall-clock seconds per phase.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub timings: Vec<Phase>,
}

/// A domain of the pool.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DomainSummary {
    /// Its name.
    pub name: String,
    /// Documents in the pool.
    pub documents: u64,
    /// Tokens in the pool.
    pub tokens: u64,
    /// Its share in the pool.
    pub natural: f64,
    /// The largest weight that it may have: no run uses a document more often than allowed.
    pub most: f64,
}

/// A target, and how well losses on it are predicted.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetSummary {
    /// Its name.
    pub name: String,
    /// Documents, of both halves.
    pub documents: u64,
    /// Tokens that the search looks at.
    pub search_tokens: u64,
    /// Tokens that only the check looks at.
    pub held_out_tokens: u64,
    /// The predictors, each judged on runs that it did not see.
    pub predictors: Vec<PredictorReport>,
    /// The one that was taken.
    pub predictor: PredictorChoice,
    /// The losses of the runs as measured, in their order.
    pub measured: Vec<f64>,
    /// What the chosen predictor says of each run without having seen it.
    pub predicted: Vec<f64>,
}

/// How well one predictor foretells runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PredictorReport {
    /// Which.
    pub predictor: PredictorChoice,
    /// On runs that it did not see.
    pub held_out: Agreement,
}

/// Runs that came from elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalSummary {
    /// How many.
    pub runs: u64,
    /// How well the runs made here foretell them, target by target; absent without such runs. A bias that is
    /// large beside the error says that their losses are of another kind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agreement: Vec<Agreement>,
}

/// The best mixture for one target, or for the mean of all.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectiveReport {
    /// The target's name, or `mean`.
    pub name: String,
    /// The targets whose mean loss this is.
    pub targets: Vec<String>,
    /// The mixture of the lowest predicted loss.
    pub optimum: Optimum,
    /// The run with the lowest loss.
    pub best_sampled: SampledBest,
    /// Fresh proxies at the optimum, the best sampled mixture, the natural one and uniform.
    pub check: Vec<CheckedMixture>,
    /// Whether the optimum is below uniform in the check.
    pub below_uniform: bool,
    /// Whether it is below the natural mixture.
    pub below_natural: bool,
    /// Whether it is at most the best sampled mixture.
    pub at_most_sampled: bool,
}

/// The run with the lowest loss.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SampledBest {
    /// Its number, from 0; those from elsewhere come last.
    pub run: usize,
    /// Its mixture.
    pub weights: Vec<f64>,
    /// Its loss.
    pub loss: f64,
}

/// A mixture in the check.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckedMixture {
    /// Which: `optimum`, `best-sampled`, `natural` or `uniform`.
    pub mixture: &'static str,
    /// Its weights.
    pub weights: Vec<f64>,
    /// How often the documents of the domain that was asked for most, given its size, were used.
    pub epochs: f64,
    /// Held-out losses.
    #[serde(flatten)]
    pub loss: Checked,
}

/// Losses of fresh proxies on held-out target text, in nats per token.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// One per seed.
    pub losses: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation.
    pub sd: f64,
}

impl Checked {
    pub(super) fn of(losses: Vec<f64>) -> Self {
        let n = losses.len() as f64;
        let mean = losses.iter().sum::<f64>() / n;
        let square: f64 = losses.iter().map(|l| (l - mean) * (l - mean)).sum();
        Self { mean, sd: (square / (n - 1.0).max(1.0)).sqrt(), losses }
    }
}

impl TargetSummary {
    pub(super) fn learn(&mut self, predictor: PredictorChoice, model: &MixtureModel) {
        self.predictor = predictor;
        self.measured.clone_from(&model.report().measured);
        self.predicted.clone_from(&model.report().predicted);
    }
}

impl MixSearchSummary {
    /// One row per objective: predicted against measured, the mixture, the check.
    pub(super) fn draw(&self) -> gristmill_core::Result<String> {
        let rows: Vec<Vec<Panel>> = self.objectives.iter().map(|o| self.row(o)).collect();
        let runs = self.runs + self.external.as_ref().map_or(0, |e| e.runs);
        plots::svg(&format!("Mixtures from {runs} runs of {}", self.proxy), &rows)
    }

    fn row(&self, objective: &ObjectiveReport) -> Vec<Panel> {
        let name = match objective.targets.len() {
            1 => objective.name.clone(),
            n => format!("mean of {n} targets"),
        };
        let bars = objective.optimum.domains.iter().map(Bar::of).collect();
        let groups = objective
            .check
            .iter()
            .map(|c| Group { label: c.mixture.replace('-', " "), values: c.loss.losses.clone() });
        let mut row = Vec::new();
        if let [target] = &objective.targets[..]
            && let Some(t) = self.targets.iter().find(|t| t.name == *target)
            && !t.predicted.is_empty()
        {
            row.push(Panel::agreement(&format!("{name}: runs"), &t.predicted, &t.measured));
        } else {
            let of = |pick: fn(&TargetSummary) -> &Vec<f64>| -> Vec<f64> {
                let n = self.targets.first().map_or(0, |t| pick(t).len());
                let mean =
                    |i| self.targets.iter().map(|t| pick(t)[i]).sum::<f64>() / self.targets.len() as f64;
                (0..n).map(mean).collect()
            };
            row.push(Panel::agreement(&format!("{name}: runs"), &of(|t| &t.predicted), &of(|t| &t.measured)));
        }
        row.push(Panel::Bars { title: format!("{name}: optimum"), bars });
        row.push(Panel::Groups {
            title: format!("{name}: fresh proxies"),
            axis: "held-out loss, nats per token".into(),
            groups: groups.collect(),
        });
        row
    }
}
