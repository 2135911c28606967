//! Drawings of what was found, as SVG: predicted against measured, mixtures with their intervals, laws with their
//! residuals.
//!
//! A drawing is rows of [`Panel`]s under one title. Everything in it is data of the results; nothing is fitted or
//! smoothed here.
//!
//! ```
//! use gristmill_mix::plots::{Panel, svg};
//!
//! let panel = Panel::agreement("five runs", &[1.0, 2.0, 3.0, 4.0, 5.0], &[1.1, 1.9, 3.2, 3.9, 5.0]);
//! let text = svg("A regression", &[vec![panel]])?;
//! assert!(text.starts_with("<svg") && text.contains("Spearman 1.000"));
//! # Ok::<(), gristmill_core::Error>(())
//! ```

mod draw;
mod law;

use gristmill_core::{Code, Error, Result};

pub use draw::svg;
pub use law::law;

use crate::stats::Agreement;
use crate::{DomainOptimum, MixtureModel, Optimum};

/// One drawing area.
#[derive(Debug, Clone, PartialEq)]
pub enum Panel {
    /// Points of predicted (across) and measured (up), with the diagonal on which they would agree.
    Agreement {
        /// What it shows.
        title: String,
        /// How well they agree, in words.
        note: String,
        /// Across.
        predicted: Vec<f64>,
        /// Up.
        measured: Vec<f64>,
    },
    /// A bar per domain with its interval, and a mark where it was before.
    Bars {
        /// What it shows.
        title: String,
        /// From top to bottom.
        bars: Vec<Bar>,
    },
    /// Dots on a line per group, with a mark at their mean.
    Groups {
        /// What it shows.
        title: String,
        /// What the values are.
        axis: String,
        /// From top to bottom.
        groups: Vec<Group>,
    },
    /// Curves and the points that they were fitted to.
    Curves {
        /// What it shows.
        title: String,
        /// What is across.
        across: String,
        /// Whether what is across is drawn in logarithm.
        logarithmic: bool,
        /// One colour each.
        series: Vec<Series>,
    },
    /// What is left of each point, by its predicted value.
    Residuals {
        /// What it shows.
        title: String,
        /// How large they are, in words.
        note: String,
        /// Across.
        predicted: Vec<f64>,
        /// Up: predicted minus measured.
        residuals: Vec<f64>,
    },
}

/// A domain of a mixture.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// Its name.
    pub label: String,
    /// Where the mark is.
    pub before: f64,
    /// How long the bar is.
    pub value: f64,
    /// Where its interval begins.
    pub low: f64,
    /// Where its interval ends.
    pub high: f64,
}

impl Bar {
    /// The optimum of a domain, with the interval of its bags and a mark at its prior.
    pub fn of(domain: &DomainOptimum) -> Self {
        let w = &domain.weight;
        Self { label: domain.domain.clone(), before: domain.prior, value: w.value, low: w.low, high: w.high }
    }
}

/// Values that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Their name.
    pub label: String,
    /// One dot each.
    pub values: Vec<f64>,
}

/// A curve and its points.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its name.
    pub label: String,
    /// The curve, from left to right.
    pub curve: Vec<(f64, f64)>,
    /// What was measured.
    pub points: Vec<(f64, f64)>,
}

impl Panel {
    /// Predicted against measured, with their agreement as a note.
    pub fn agreement(title: &str, predicted: &[f64], measured: &[f64]) -> Self {
        let a = Agreement::of(predicted, measured);
        Self::Agreement {
            title: title.to_owned(),
            note: format!("Spearman {:.3}, RMSE {}", a.spearman, short(a.rmse)),
            predicted: predicted.to_vec(),
            measured: measured.to_vec(),
        }
    }
}

/// How a regression fares on runs that it did not see.
///
/// # Errors
/// A model that was fitted without folds.
pub fn regression(model: &MixtureModel) -> Result<String> {
    let report = model.report();
    if report.predicted.is_empty() {
        return Err(Error::new(Code::InvalidArgument, "without folds there is no prediction to draw")
            .at_column("folds"));
    }
    let panel = Panel::agreement("held-out runs", &report.predicted, &report.measured);
    svg(&format!("{} from {} runs", model.target(), report.runs), &[vec![panel]])
}

/// The mixture of an optimum.
pub fn optimum(title: &str, optimum: &Optimum) -> Result<String> {
    let bars = optimum.domains.iter().map(Bar::of).collect();
    let gain = &optimum.gain;
    let name =
        format!("gain over the prior {} [{}, {}]", short(gain.value), short(gain.low), short(gain.high));
    svg(title, &[vec![Panel::Bars { title: name, bars }]])
}

/// A number with three significant digits.
pub(crate) fn short(x: f64) -> String {
    if x == 0.0 || !x.is_finite() {
        return x.to_string();
    }
    match x.abs().log10().floor() as i32 {
        e if (-4..3).contains(&e) => format!("{x:.*}", (2 - e).max(0) as usize),
        e if (3..7).contains(&e) => format!("{x:.0}"),
        _ => format!("{x:.2e}"),
    }
}
