//! The jobs that may need a device, with all devices of this build to choose from.

use gristmill_core::{Control, Device, Result};
use gristmill_score::jobs::{
    PerplexityOptions, PerplexitySummary, ScoreOptions, ScoreSummary, SelectOptions, SelectSummary,
    perplexity as measure, score as scoring, select as selection,
};
use gristmill_score::mixing::{SubsetFileOptions, SubsetFileSummary, subset_on};

use crate::devices;

fn open(selector: &str) -> Result<Device> {
    devices::open(selector).map(|opened| opened.device)
}

/// Scores a pool; see [`gristmill_score::jobs::score::run_on`].
///
/// # Errors
/// As there.
pub fn score(options: ScoreOptions, control: &Control) -> Result<ScoreSummary> {
    scoring::run_on(options, open, control)
}

/// Selects from a pool; see [`gristmill_score::jobs::select::run_on`].
///
/// # Errors
/// As there.
pub fn select(options: SelectOptions, control: &Control) -> Result<SelectSummary> {
    selection::run_on(options, open, control)
}

/// Chooses rows of a file of embeddings; see [`gristmill_score::mixing::subset_on`].
///
/// # Errors
/// As there.
pub fn subset(options: SubsetFileOptions, control: &Control) -> Result<SubsetFileSummary> {
    subset_on(options, open, control)
}

/// Measures a model on text; see [`gristmill_score::jobs::perplexity::run_on`].
///
/// # Errors
/// As there.
pub fn perplexity(options: PerplexityOptions, control: &Control) -> Result<PerplexitySummary> {
    measure::run_on(options, open, control)
}
