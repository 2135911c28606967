//! Points to laws, and curves to critical ratios.

use gristmill_core::{Control, Result};
use gristmill_mix::{
    CmrCurve, CmrOptions, CriticalRatio, LawFit, LawForm, LawOptions, critical_mixture_ratio, plots,
    read_cmr_curves, read_law_points,
};
use serde::{Deserialize, Serialize};

use super::numbers::{Number, matrix};
use super::write_whole;
use crate::jobs::SUMMARY_SCHEMA;

/// Where the points of a law come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum LawPoints {
    /// A CSV file with a column per variable.
    #[serde(rename_all = "camelCase")]
    File {
        /// The file.
        path: String,
        /// The column of the loss; `loss` when not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        loss: Option<String>,
    },
    /// Numbers.
    #[serde(rename_all = "camelCase")]
    Table {
        /// One row per point, in the order of the law's variables.
        points: Vec<Vec<Number>>,
        /// One loss per point.
        losses: Vec<Number>,
    },
}

/// Fit a law.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LawFitOptions {
    /// The shape.
    pub form: LawForm,
    /// The points.
    pub points: LawPoints,
    /// How to fit.
    #[serde(default)]
    pub fit: LawOptions,
    /// Also write the law to this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Also draw the law and its residuals, as an SVG file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plot: Option<String>,
}

/// A law with what is known of its worth.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LawFitSummary {
    /// The version of this form.
    pub schema: u32,
    /// The variables, in their order.
    pub variables: &'static [&'static str],
    /// The fit.
    #[serde(flatten)]
    pub fit: LawFit,
}

/// Fits a law, and writes what was asked for.
///
/// # Errors
/// Those of the points and of [`gristmill_mix::fit_law`].
pub fn fit_law(options: &LawFitOptions, control: &Control) -> Result<LawFitSummary> {
    let (points, losses) = match &options.points {
        LawPoints::File { path, loss } => {
            read_law_points(options.form, path, loss.as_deref().unwrap_or("loss"))?
        }
        LawPoints::Table { points, losses } => {
            (matrix(points, "points")?, losses.iter().map(|n| n.0).collect())
        }
    };
    let fit = gristmill_mix::fit_law(options.form, &points, &losses, &options.fit, control)?;
    if let Some(plot) = &options.plot {
        write_whole(plot, plots::law(&fit, &points, &losses)?.as_bytes())?;
    }
    if let Some(output) = &options.output {
        fit.law.save(output)?;
    }
    Ok(LawFitSummary { schema: SUMMARY_SCHEMA, variables: options.form.variables(), fit })
}

/// Ask for a critical mixture ratio.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CriticalOptions {
    /// Curves of runs at several ratios. Give these or `file`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curves: Vec<CmrCurve>,
    /// A CSV file with the columns `ratio`, `tokens`, `general` and `domain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// After how many tokens, in the unit of the curves.
    pub tokens: f64,
    /// By how much the general loss may rise, in nats; 0.05.
    #[serde(default = "default_tolerance")]
    pub tolerance: f64,
}

fn default_tolerance() -> f64 {
    CmrOptions::default().tolerance
}

/// The critical mixture ratio, or why there is none.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CriticalSummary {
    /// The version of this form.
    pub schema: u32,
    /// The answer.
    #[serde(flatten)]
    pub answer: CriticalRatio,
}

/// The critical mixture ratio by curves.
///
/// # Errors
/// Those of the curves and of [`critical_mixture_ratio`].
pub fn critical(options: &CriticalOptions) -> Result<CriticalSummary> {
    let mut curves = options.curves.clone();
    if let Some(file) = &options.file {
        curves.extend(read_cmr_curves(file)?);
    }
    let judge = CmrOptions { tolerance: options.tolerance };
    let answer = critical_mixture_ratio(&curves, options.tokens, &judge)?;
    Ok(CriticalSummary { schema: SUMMARY_SCHEMA, answer })
}
