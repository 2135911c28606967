use gristmill_core::{Code, Control, Error, Result};
use rand::{Rng, RngExt};
use rayon::prelude::*;

use super::form::LawForm;
use super::law::Law;
use super::lbfgs::{self, Minimum};
use super::objective::{Objective, Start};
use crate::stats::Agreement;
use crate::{Matrix, rng};

/// What the residual of a fit is taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Residual {
    /// `ln predicted - ln measured`: relative errors count alike at high and low losses.
    #[default]
    Log,
    /// `predicted - measured`.
    Plain,
}

/// How [`fit_law`] fits.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LawOptions {
    /// Default: logarithmic.
    pub residual: Residual,
    /// Where the Huber loss turns from squared to absolute, in units of the residual; default 1e-3.
    pub delta: f64,
    /// How many random starts; default 40.
    pub starts: usize,
    /// The most iterations of one start; default 2000.
    pub iterations: usize,
    /// Folds for the error on points that were held out, 0 for none; default 5.
    pub folds: usize,
    /// Whether to fit again without the largest value of each growing variable and see how well it is
    /// foretold; default true.
    pub extrapolate: bool,
    /// Default 0.
    pub seed: u64,
}

impl Default for LawOptions {
    fn default() -> Self {
        Self {
            residual: Residual::Log,
            delta: 1e-3,
            starts: 40,
            iterations: 2000,
            folds: 5,
            extrapolate: true,
            seed: 0,
        }
    }
}

/// How far the random starts agree.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Starts {
    /// How many there were.
    pub count: usize,
    /// How many stopped because nothing more was to be gained, before the limit of iterations.
    pub converged: usize,
    /// How many came within 1% of the best objective.
    pub near_best: usize,
    /// For each parameter, its least and greatest value among those starts. A wide range means that the data
    /// do not determine it.
    pub spread: Vec<ParameterSpread>,
}

/// A parameter and how it varies over the starts that fit about as well.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParameterSpread {
    /// Its name.
    pub name: String,
    /// Its value in the best fit.
    pub value: f64,
    /// The least value among starts near the best.
    pub low: f64,
    /// The greatest value among starts near the best.
    pub high: f64,
}

/// How well the law foretells what lies beyond the data, tested on the data: it is fitted without the largest
/// value of a variable, and compared there.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtrapolationCheck {
    /// The variable.
    pub variable: String,
    /// The value that was held out.
    pub value: f64,
    /// How predictions compare there.
    pub agreement: Agreement,
}

/// A fitted law with what is known of its worth.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LawFit {
    /// The law.
    pub law: Law,
    /// The objective: the mean Huber loss of the residuals.
    pub huber: f64,
    /// On the points that were fitted.
    pub fitted: Agreement,
    /// Predicted minus measured, point by point.
    pub residuals: Vec<f64>,
    /// How far the starts agree.
    pub starts: Starts,
    /// On each point by the law of the folds without it; `None` without folds.
    pub held_out: Option<Agreement>,
    /// One entry for each variable but the share that has more values than the form has use for.
    pub extrapolation: Vec<ExtrapolationCheck>,
}

/// Fits a law to points (one row each, in the order of [`LawForm::variables`]) and their losses.
///
/// Minimises the mean Huber loss of the residuals over the logarithms of all parameters, so that they stay
/// positive, by L-BFGS with analytic gradients from many random starts. A start draws the exponents, takes the
/// coefficients by least squares, and is first solved with a Huber threshold a hundred times as wide, which
/// keeps it from stopping at the kinks of a rough fit. The variables enter around their mean logarithm, which
/// takes most of the correlation between a coefficient and its exponent away.
///
/// ```
/// use gristmill_core::Control;
/// use gristmill_mix::{Law, LawForm, LawOptions, Matrix, fit_law};
///
/// let truth = Law::new(LawForm::Power, vec![1.7, 2.0, 0.35])?;
/// let x = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
/// let losses = x.iter().map(|&x| Ok(truth.predict(&[x])?.loss)).collect::<Result<Vec<_>, _>>()?;
/// let points = Matrix::new(7, 1, x.to_vec())?;
/// let fit = fit_law(LawForm::Power, &points, &losses, &LawOptions::default(), &Control::default())?;
/// assert!((fit.law.parameter("alpha").unwrap() - 0.35).abs() < 1e-4);
/// assert_eq!(fit.law.predict(&[256.0])?.extrapolated, ["x"]);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
///
/// # Errors
/// Fewer points than parameters, a variable that does not vary, a value out of its domain, a loss that is not
/// positive, options out of range.
pub fn fit_law(
    form: LawForm,
    points: &Matrix,
    losses: &[f64],
    options: &LawOptions,
    control: &Control,
) -> Result<LawFit> {
    check(form, points, losses, options)?;
    let n = points.rows();
    let all: Vec<usize> = (0..n).collect();
    let solved = solve(form, points, losses, &all, options, options.starts, control)?;
    let law = solved.law.fitted_on(ranges(points));
    let predicted: Vec<f64> = points.iter_rows().map(|row| law.value(row)).collect();

    // The checks are looser than the fit itself: a fifth of its starts each.
    let few = options.starts.div_ceil(5).max(4);
    let refit = |rows: &[usize]| solve(form, points, losses, rows, options, few, control);
    let mut held_out = None;
    if options.folds > 0 {
        let order = rng::choose(&mut rng::stream(options.seed, "law folds", 0), n, n);
        let mut outside = vec![0.0; n];
        for fold in 0..options.folds {
            let rows: Vec<usize> = (0..n).filter(|i| i % options.folds != fold).map(|i| order[i]).collect();
            let law = refit(&rows)?.law;
            for &i in order.iter().skip(fold).step_by(options.folds) {
                outside[i] = law.value(points.row(i));
            }
        }
        held_out = Some(Agreement::of(&outside, losses));
    }
    let mut extrapolation = Vec::new();
    for (j, &name) in form.variables().iter().enumerate() {
        let mut values = points.column(j);
        values.sort_by(f64::total_cmp);
        values.dedup();
        let largest = values[values.len() - 1];
        let (rest, beyond): (Vec<usize>, Vec<usize>) = all.iter().partition(|&&i| points.row(i)[j] < largest);
        // Two values are left at least, and as many points as there are parameters.
        let enough = values.len() > 2 && rest.len() >= form.parameters().len() && beyond.len() > 1;
        if options.extrapolate && enough && !matches!(name, "r" | "k1" | "k2") {
            let law = refit(&rest)?.law;
            let predicted: Vec<f64> = beyond.iter().map(|&i| law.value(points.row(i))).collect();
            let measured: Vec<f64> = beyond.iter().map(|&i| losses[i]).collect();
            extrapolation.push(ExtrapolationCheck {
                variable: name.into(),
                value: largest,
                agreement: Agreement::of(&predicted, &measured),
            });
        }
    }
    Ok(LawFit {
        huber: solved.value,
        fitted: Agreement::of(&predicted, losses),
        residuals: predicted.iter().zip(losses).map(|(p, m)| p - m).collect(),
        starts: solved.starts,
        law,
        held_out,
        extrapolation,
    })
}

struct Solved {
    law: Law,
    value: f64,
    starts: Starts,
}

fn solve(
    form: LawForm,
    points: &Matrix,
    losses: &[f64],
    rows: &[usize],
    options: &LawOptions,
    starts: usize,
    control: &Control,
) -> Result<Solved> {
    let measured: Vec<f64> = rows.iter().map(|&i| losses[i]).collect();
    let objective = Objective::new(form, &points.select(rows), &measured, options.residual);
    let run = |start: usize| -> Result<Minimum> {
        control.check()?;
        let mut rng = rng::stream(options.seed, "law start", start as u64);
        let first = objective.start(&draw(form, &mut rng));
        let mut work = objective.workspace();
        let wide = 100.0 * options.delta;
        let rough = lbfgs::minimize(first, options.iterations, |u, g| objective.value(u, wide, g, &mut work));
        let exact = lbfgs::minimize(rough.x, options.iterations, |u, g| {
            objective.value(u, options.delta, g, &mut work)
        });
        Ok(exact)
    };
    let mut minima = (0..starts).into_par_iter().map(run).collect::<Result<Vec<_>>>()?;
    minima.retain(|m| m.value.is_finite());
    // Ties go to the earlier start: the sort is stable.
    minima.sort_by(|a, b| a.value.total_cmp(&b.value));
    let Some(best) = minima.first() else {
        return Err(Error::new(Code::InvalidValue, "no start led to a finite fit"));
    };
    let near: Vec<Vec<f64>> = minima
        .iter()
        .take_while(|m| m.value <= best.value * 1.01 + f64::MIN_POSITIVE)
        .map(|m| objective.parameters(&m.x))
        .collect();
    let spread = form.parameters().iter().enumerate().map(|(j, name)| ParameterSpread {
        name: name.to_string(),
        value: near[0][j],
        low: near.iter().map(|p| p[j]).fold(f64::INFINITY, f64::min),
        high: near.iter().map(|p| p[j]).fold(0.0, f64::max),
    });
    Ok(Solved {
        law: Law::new(form, near[0].clone())?,
        value: best.value,
        starts: Starts {
            count: starts,
            converged: minima.iter().filter(|m| m.converged).count(),
            near_best: near.len(),
            spread: spread.collect(),
        },
    })
}

/// Random exponents of 0.05 to 2, epsilon of 0.001 to 1, and a weight of `K` anywhere.
fn draw(form: LawForm, rng: &mut impl Rng) -> Start {
    let mut log_uniform = |low: f64, high: f64| low * (high / low).powf(rng.random::<f64>());
    Start {
        exponents: form.shape().exponents.iter().map(|_| log_uniform(0.05, 2.0)).collect(),
        epsilon: log_uniform(1e-3, 1.0),
        weight: rng.random_range(0.05..0.95),
    }
}

fn ranges(points: &Matrix) -> Vec<[f64; 2]> {
    let range = |j| {
        let column = points.column(j);
        [column.iter().copied().fold(f64::INFINITY, f64::min), column.iter().copied().fold(0.0, f64::max)]
    };
    (0..points.columns()).map(range).collect()
}

fn check(form: LawForm, points: &Matrix, losses: &[f64], options: &LawOptions) -> Result<()> {
    let n = points.rows();
    if n != losses.len() {
        return Err(Error::new(Code::InvalidArgument, format!("{n} points, {} losses", losses.len())));
    }
    let wanted = form.parameters().len();
    if n < wanted {
        return Err(Error::new(Code::EmptyInput, format!("{n} points cannot determine {wanted} parameters")));
    }
    for (i, (row, &loss)) in points.iter_rows().zip(losses).enumerate() {
        form.check_row(row).map_err(|e| e.at_row(i as u64))?;
        if !(loss.is_finite() && loss > 0.0) {
            let e = Error::new(Code::InvalidValue, format!("a loss of {loss}"));
            return Err(e.at_row(i as u64).at_column("loss"));
        }
    }
    for (j, [low, high]) in ranges(points).into_iter().enumerate() {
        if low == high {
            return Err(Error::new(Code::InvalidValue, format!("it is {low} at every point"))
                .at_column(form.variables()[j])
                .hint("vary it, or fit a form without it"));
        }
    }
    let bad = |name: &str, why: &str| Err(Error::invalid_argument(name, why));
    if !(options.delta > 0.0 && options.delta.is_finite()) {
        return bad("delta", "must be positive");
    }
    if options.starts == 0 || options.iterations == 0 {
        return bad("starts, iterations", "must be at least 1");
    }
    if options.folds == 1 || options.folds > n {
        return bad("folds", "must be 0, or 2 to the number of points");
    }
    if options.folds > 0 && n - n.div_ceil(options.folds) < wanted {
        return bad("folds", "leave fewer points than parameters to fit; use 0 for none");
    }
    Ok(())
}
