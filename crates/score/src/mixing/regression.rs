//! Runs that one has to a regression, a regression to an optimum, a prior to mixtures to train on.

use std::collections::BTreeMap;

use gristmill_core::{Code, Control, Error, Result};
use gristmill_mix::{
    FitOptions, FitReport, MixtureModel, Objective, OptimizeOptions, Optimum, Runs, SampleOptions,
    optimize_mixture, plots, sample_mixtures, table_text,
};
use serde::{Deserialize, Serialize};

use super::numbers::{Number, matrix};
use super::write_whole;
use crate::jobs::SUMMARY_SCHEMA;

/// Where runs come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum RunsSource {
    /// Two CSV files.
    #[serde(rename_all = "camelCase")]
    Files {
        /// A column per domain.
        mixtures: String,
        /// A column per target.
        losses: String,
    },
    /// Numbers.
    #[serde(rename_all = "camelCase")]
    Table {
        /// The names of the domains.
        domains: Vec<String>,
        /// The mixtures, one row per run.
        mixtures: Vec<Vec<Number>>,
        /// The names of the targets.
        targets: Vec<String>,
        /// The losses, one row per run.
        losses: Vec<Vec<Number>>,
    },
}

impl RunsSource {
    fn read(&self) -> Result<Runs> {
        match self {
            Self::Files { mixtures, losses } => Runs::read_csv(mixtures, losses),
            Self::Table { domains, mixtures, targets, losses } => Runs::new(
                domains.clone(),
                matrix(mixtures, "mixtures")?,
                targets.clone(),
                matrix(losses, "losses")?,
            ),
        }
    }
}

/// Fit the loss of a target to the mixture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MixFitOptions {
    /// The runs.
    pub runs: RunsSource,
    /// The target: its name, or a part of it that no other has.
    pub target: String,
    /// How to fit.
    #[serde(default)]
    pub fit: FitOptions,
    /// Also write the model to this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Also draw predicted against measured, as an SVG file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plot: Option<String>,
}

/// What a fit is worth.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MixFitSummary {
    /// The version of this form.
    pub schema: u32,
    /// The target.
    pub target: String,
    /// The domains, in the order of all weights.
    pub domains: Vec<String>,
    /// The least and the greatest weight of each domain among the runs.
    pub ranges: Vec<[f64; 2]>,
    /// How many bootstrap models there are.
    pub bags: usize,
    /// How the fit went.
    pub report: FitReport,
}

impl MixFitSummary {
    /// What is known of a model.
    pub fn of(model: &MixtureModel) -> Self {
        Self {
            schema: SUMMARY_SCHEMA,
            target: model.target().to_owned(),
            domains: model.domains().to_vec(),
            ranges: model.ranges().to_vec(),
            bags: model.bags(),
            report: model.report().clone(),
        }
    }
}

/// Fits the regression, and writes what was asked for.
///
/// # Errors
/// Those of the runs and of [`MixtureModel::fit`]; a drawing without folds.
pub fn fit(options: &MixFitOptions, control: &Control) -> Result<MixtureModel> {
    let runs = options.runs.read()?;
    let model = MixtureModel::fit(&runs, &options.target, &options.fit, control)?;
    if let Some(plot) = &options.plot {
        write_whole(plot, plots::regression(&model)?.as_bytes())?;
    }
    if let Some(output) = &options.output {
        model.save(output)?;
    }
    Ok(model)
}

/// Search the mixture with the lowest predicted loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MixOptimizeOptions {
    /// The share of each domain to start from.
    pub prior: BTreeMap<String, Number>,
    /// What each model's loss counts in the sum; 1 for all when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Vec<Number>>,
    /// The most that some domains may have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub max_weights: BTreeMap<String, Number>,
    /// How many mixtures are drawn.
    #[serde(default = "default_draws")]
    pub draws: usize,
    /// The result is the mean of this many best ones.
    #[serde(default = "default_best")]
    pub best: usize,
    /// Mixtures are drawn from Dirichlet(`prior * strength`).
    #[serde(default = "default_strength")]
    pub strength: f64,
    /// Seed of the draws.
    #[serde(default)]
    pub seed: u64,
    /// Also write the result to this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Also draw the mixture, as an SVG file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plot: Option<String>,
}

fn default_draws() -> usize {
    OptimizeOptions::default().draws
}
fn default_best() -> usize {
    OptimizeOptions::default().best
}
fn default_strength() -> f64 {
    OptimizeOptions::default().strength
}

/// Searches the optimum of one model, or of the weighted sum of several.
///
/// # Errors
/// A prior or bounds of other domains than the models', and those of [`optimize_mixture`].
pub fn optimize(
    models: &[&MixtureModel],
    options: &MixOptimizeOptions,
    control: &Control,
) -> Result<Optimum> {
    let Some(first) = models.first() else {
        return Err(Error::invalid_argument("model", "there is none"));
    };
    let domains = first.domains();
    let ones = vec![Number(1.0); models.len()];
    let weights = options.weights.as_ref().unwrap_or(&ones);
    if weights.len() != models.len() {
        let message = format!("{} weights for {} models", weights.len(), models.len());
        return Err(Error::invalid_argument("weights", message));
    }
    let objectives: Vec<Objective<'_>> =
        models.iter().zip(weights).map(|(model, weight)| Objective { model, weight: weight.0 }).collect();
    known(&options.prior, domains, "prior")?;
    known(&options.max_weights, domains, "maxWeights")?;
    let share = |name: &String| {
        options.prior.get(name).map(|n| n.0).ok_or_else(|| {
            Error::new(Code::MissingColumn, format!("the prior has no share of {name:?}")).at_column("prior")
        })
    };
    let prior = domains.iter().map(share).collect::<Result<Vec<_>>>()?;
    let bound = |name: &String| options.max_weights.get(name).map_or(1.0, |n| n.0);
    let bounds = (!options.max_weights.is_empty()).then(|| domains.iter().map(bound).collect());
    let search = OptimizeOptions {
        draws: options.draws,
        best: options.best,
        strength: options.strength,
        max_weights: bounds,
        clip: false,
        seed: options.seed,
    };
    let optimum = optimize_mixture(&objectives, &prior, &search, control)?;
    if let Some(plot) = &options.plot {
        let targets: Vec<&str> = models.iter().map(|m| m.target()).collect();
        let title = format!("Mixture for {}", targets.join(", "));
        write_whole(plot, plots::optimum(&title, &optimum)?.as_bytes())?;
    }
    if let Some(output) = &options.output {
        let text = serde_json::to_vec_pretty(&optimum)
            .map_err(|e| Error::new(Code::Internal, format!("an optimum does not serialise: {e}")))?;
        write_whole(output, &text)?;
    }
    Ok(optimum)
}

fn known(named: &BTreeMap<String, Number>, domains: &[String], option: &str) -> Result<()> {
    match named.keys().find(|name| !domains.contains(name)) {
        None => Ok(()),
        Some(name) => Err(Error::invalid_argument(option, format!("the models know no domain {name:?}"))
            .hint(format!("domains: {}", domains.join(", ")))),
    }
}

/// Draw mixtures to train on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MixSampleOptions {
    /// The share, or the tokens, of each domain.
    pub prior: BTreeMap<String, Number>,
    /// How to draw.
    #[serde(default)]
    pub sample: SampleOptions,
    /// Also write the mixtures to this CSV file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// Mixtures to train on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MixSampleSummary {
    /// The version of this form.
    pub schema: u32,
    /// The domains, in the order of all weights.
    pub domains: Vec<String>,
    /// One mixture per row.
    pub mixtures: Vec<Vec<f64>>,
    /// Draws made.
    pub drawn: usize,
    /// Draws that asked more of a domain than allowed.
    pub over_used: usize,
    /// Draws that equal another after rounding.
    pub duplicates: usize,
    /// The mixtures as the text of a CSV file.
    pub csv: String,
}

/// Draws mixtures as RegMix draws them.
///
/// # Errors
/// Those of [`sample_mixtures`].
pub fn sample(options: &MixSampleOptions) -> Result<MixSampleSummary> {
    let domains: Vec<String> = options.prior.keys().cloned().collect();
    let prior: Vec<f64> = options.prior.values().map(|n| n.0).collect();
    if let Some(j) = prior.iter().position(|p| !(p.is_finite() && *p >= 0.0)) {
        return Err(
            Error::new(Code::InvalidValue, format!("a weight of {}", prior[j])).at_column(&domains[j])
        );
    }
    let drawn = sample_mixtures(&prior, &options.sample)?;
    let csv = table_text(&domains, &drawn.weights)?;
    if let Some(output) = &options.output {
        write_whole(output, csv.as_bytes())?;
    }
    Ok(MixSampleSummary {
        schema: SUMMARY_SCHEMA,
        domains,
        mixtures: drawn.weights.iter_rows().map(<[f64]>::to_vec).collect(),
        drawn: drawn.drawn,
        over_used: drawn.over_used,
        duplicates: drawn.duplicates,
        csv,
    })
}
