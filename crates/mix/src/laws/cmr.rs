use gristmill_core::{Code, Error, Result};

use crate::Matrix;
use crate::matrix::solve_spd;

/// How the critical mixture ratio grows with the tokens of continual training:
/// `R(T) = alpha T^s + beta` (Gu et al., "CMR Scaling Law", 2024).
///
/// ```
/// use gristmill_mix::{CmrLaw, CriticalRatio};
///
/// // The published constants of the 460M model, with T in units of 0.2B tokens: 29.8% at 20B.
/// let law = CmrLaw { alpha: 0.22524761, s: 0.26944345, beta: -0.48139982 };
/// let CriticalRatio::Feasible { ratio, .. } = law.ratio(100.0)? else { panic!("feasible at 20B") };
/// assert!((ratio - 0.298).abs() < 5e-4);
/// // The same constants have no mixture to offer at 2B, and say so.
/// assert!(matches!(law.ratio(10.0)?, CriticalRatio::Infeasible { .. }));
/// # Ok::<(), gristmill_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct CmrLaw {
    /// The factor.
    pub alpha: f64,
    /// The exponent.
    pub s: f64,
    /// The offset.
    pub beta: f64,
}

impl CmrLaw {
    /// The critical ratio after `tokens`, in the unit of the fit.
    ///
    /// # Errors
    /// Tokens that are not positive.
    pub fn ratio(&self, tokens: f64) -> Result<CriticalRatio> {
        if !(tokens > 0.0 && tokens.is_finite()) {
            return Err(Error::invalid_argument("tokens", "must be positive"));
        }
        let value = self.alpha * tokens.powf(self.s) + self.beta;
        Ok(match value > 0.0 && value <= 1.0 {
            true => CriticalRatio::Feasible { ratio: value, at_edge: false },
            false => CriticalRatio::Infeasible { reason: Infeasible::OutOfRange { value } },
        })
    }
}

/// The largest share of domain text that leaves the general loss within its tolerance while the domain loss
/// still falls, or why there is none.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[serde(tag = "status", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum CriticalRatio {
    /// There is one.
    Feasible {
        /// The share of domain text, above 0 and at most 1.
        ratio: f64,
        /// Whether it is the largest ratio that was trained, so that a larger one may do as well.
        at_edge: bool,
    },
    /// There is none.
    Infeasible {
        /// Why.
        reason: Infeasible,
    },
}

/// Why there is no critical ratio.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[serde(tag = "why", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Infeasible {
    /// The law gives a value that is no share.
    OutOfRange {
        /// The value.
        value: f64,
    },
    /// Even at the ratio where it rises least, the general loss rises by more than the tolerance.
    GeneralRises {
        /// The rise there.
        least: f64,
        /// The ratio.
        at_ratio: f64,
    },
    /// Wherever the general loss is kept, the domain loss no longer falls.
    DomainStalls,
}

/// A run of continual training at one mixture ratio: how far both losses have moved from where they started.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CmrCurve {
    /// The share of domain text.
    pub ratio: f64,
    /// Tokens trained on at each measurement, positive, in any one unit.
    pub tokens: Vec<f64>,
    /// General loss minus its value before training.
    pub general: Vec<f64>,
    /// Domain loss minus its value before training.
    pub domain: Vec<f64>,
}

/// How [`critical_mixture_ratio`] judges.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CmrOptions {
    /// By how much the general loss may rise, in nats; default 0.05.
    pub tolerance: f64,
}

impl Default for CmrOptions {
    fn default() -> Self {
        Self { tolerance: 0.05 }
    }
}

/// The critical mixture ratio after `tokens` by curves of runs at several ratios.
///
/// Each curve is smoothed by least squares: the domain loss as `a1 T^s1 + b1`, the general loss, which rises
/// and then falls, as `a2 T^s2 + a3 T^s3 + b2`. A ratio is feasible when the general curve at `tokens` is at
/// most the tolerance and the domain curve falls there. The critical ratio is the largest feasible one, moved
/// towards the next larger ratio to where the general curves, interpolated linearly, meet the tolerance.
///
/// # Errors
/// Fewer than two curves, a curve of fewer than six points or with lists of different lengths, ratios that are
/// no shares or there twice, numbers that are not finite.
pub fn critical_mixture_ratio(
    curves: &[CmrCurve],
    tokens: f64,
    options: &CmrOptions,
) -> Result<CriticalRatio> {
    if !(tokens > 0.0 && tokens.is_finite()) {
        return Err(Error::invalid_argument("tokens", "must be positive"));
    }
    if curves.len() < 2 {
        return Err(Error::new(Code::EmptyInput, "at least two ratios are needed"));
    }
    let mut states = Vec::new();
    for (i, curve) in curves.iter().enumerate() {
        states.push(State::of(curve, tokens).map_err(|e| e.at_row(i as u64))?);
    }
    states.sort_by(|a, b| a.ratio.total_cmp(&b.ratio));
    if let Some(pair) = states.windows(2).find(|pair| pair[0].ratio == pair[1].ratio) {
        return Err(Error::new(Code::DuplicateId, format!("ratio {} is there twice", pair[0].ratio)));
    }
    let kept = |s: &State| s.general <= options.tolerance;
    let Some(last) = states.iter().rposition(|s| kept(s) && s.falls) else {
        let least = states.iter().min_by(|a, b| a.general.total_cmp(&b.general)).unwrap_or(&states[0]);
        let reason = match states.iter().any(kept) {
            true => Infeasible::DomainStalls,
            false => Infeasible::GeneralRises { least: least.general, at_ratio: least.ratio },
        };
        return Ok(CriticalRatio::Infeasible { reason });
    };
    let here = &states[last];
    Ok(match states.get(last + 1) {
        None => CriticalRatio::Feasible { ratio: here.ratio, at_edge: true },
        Some(next) if kept(next) => CriticalRatio::Feasible { ratio: here.ratio, at_edge: false },
        Some(next) => {
            let part = (options.tolerance - here.general) / (next.general - here.general);
            CriticalRatio::Feasible { ratio: here.ratio + part * (next.ratio - here.ratio), at_edge: false }
        }
    })
}

/// One ratio at one number of tokens.
struct State {
    ratio: f64,
    general: f64,
    falls: bool,
}

impl State {
    fn of(curve: &CmrCurve, tokens: f64) -> Result<Self> {
        let n = curve.tokens.len();
        if curve.general.len() != n || curve.domain.len() != n {
            return Err(Error::new(Code::InvalidArgument, "the lists of a curve differ in length"));
        }
        if n < 6 {
            return Err(Error::new(
                Code::EmptyInput,
                format!("{n} points cannot determine a curve of five parameters"),
            ));
        }
        if !(curve.ratio > 0.0 && curve.ratio <= 1.0) {
            return Err(
                Error::new(Code::InvalidValue, format!("{} is no share", curve.ratio)).at_column("ratio")
            );
        }
        check_numbers(&curve.tokens, curve.general.iter().chain(&curve.domain))?;
        let domain = Curve::fit(&curve.tokens, &curve.domain, 1);
        let general = Curve::fit(&curve.tokens, &curve.general, 2);
        Ok(Self { ratio: curve.ratio, general: general.value(tokens), falls: domain.slope(tokens) < 0.0 })
    }
}

/// A fitted [`CmrLaw`] with what is known of its worth.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CurveFit {
    /// The law.
    pub law: CmrLaw,
    /// Predicted minus given, point by point.
    pub residuals: Vec<f64>,
    /// The root of their mean square.
    pub rmse: f64,
    /// Whether the exponent is so close to zero that `alpha` and `beta` nearly cancel: the points follow a
    /// logarithm, and the law should not be carried far beyond them.
    pub degenerate: bool,
}

/// Fits [`CmrLaw`] to critical ratios after several numbers of tokens by least squares, which is exact in
/// `alpha` and `beta` and searches `s` from -4 to 4.
///
/// # Errors
/// Fewer than four points, or numbers that are not finite or tokens that are not positive.
pub fn fit_cmr_law(tokens: &[f64], ratios: &[f64]) -> Result<CurveFit> {
    if tokens.len() != ratios.len() {
        return Err(Error::new(
            Code::InvalidArgument,
            format!("{} tokens, {} ratios", tokens.len(), ratios.len()),
        ));
    }
    if tokens.len() < 4 {
        return Err(Error::new(Code::EmptyInput, "at least four points for the three parameters"));
    }
    check_numbers(tokens, ratios.iter())?;
    let curve = Curve::fit(tokens, ratios, 1);
    let s = curve.exponents[0];
    // From c (x^s - 1)/s + b with x = T / unit back to alpha T^s + beta.
    let scale = curve.coefficients[0] / s;
    let law = CmrLaw { alpha: scale * curve.unit.powf(-s), s, beta: curve.offset - scale };
    let residuals: Vec<f64> = tokens.iter().zip(ratios).map(|(&t, r)| curve.value(t) - r).collect();
    let rmse = (residuals.iter().map(|r| r * r).sum::<f64>() / residuals.len() as f64).sqrt();
    Ok(CurveFit { law, residuals, rmse, degenerate: s.abs() < 0.02 })
}

fn check_numbers<'a>(tokens: &[f64], mut values: impl Iterator<Item = &'a f64>) -> Result<()> {
    if tokens.iter().any(|t| !(*t > 0.0 && t.is_finite())) {
        return Err(Error::new(Code::InvalidValue, "tokens must be positive").at_column("tokens"));
    }
    if values.any(|v| !v.is_finite()) {
        return Err(Error::new(Code::InvalidValue, "a value is not finite"));
    }
    Ok(())
}

/// `Σ c_k (x^s_k - 1)/s_k + offset` with `x = T / unit`: powers in the form of Box and Cox, which pass smoothly
/// through the logarithm at an exponent of zero.
struct Curve {
    unit: f64,
    exponents: Vec<f64>,
    coefficients: Vec<f64>,
    offset: f64,
}

impl Curve {
    /// Least squares with one or two powers: coefficients exactly, exponents by grids that narrow down on the
    /// best one.
    fn fit(tokens: &[f64], values: &[f64], powers: usize) -> Self {
        let unit = (tokens.iter().map(|t| t.ln()).sum::<f64>() / tokens.len() as f64).exp();
        let logs: Vec<f64> = tokens.iter().map(|t| (t / unit).ln()).collect();
        const STEPS: i32 = 20;
        let (mut centre, mut width) = (vec![0.0; powers], 4.0);
        let mut best = (f64::INFINITY, vec![1.0; powers], vec![0.0; powers + 1]);
        for _ in 0..24 {
            let grid = |k: usize, i: i32| {
                let s: f64 = centre[k] + width * f64::from(i) / f64::from(STEPS);
                // A step off zero, where the form is undefined; the difference to the logarithm is below 1e-6.
                if s.abs() < 1e-7 { 1e-7 } else { s.clamp(-4.0, 4.0) }
            };
            for i in -STEPS..=STEPS {
                let second = if powers == 2 { -STEPS..=STEPS } else { 0..=0 };
                for j in second {
                    let mut s = vec![grid(0, i)];
                    if powers == 2 {
                        s.push(grid(1, j));
                        // In order, and apart: equal exponents are one power.
                        if s[1] - s[0] < 1e-3 {
                            continue;
                        }
                    }
                    if let Some((error, solution)) = linear(&logs, values, &s)
                        && error < best.0
                    {
                        best = (error, s, solution);
                    }
                }
            }
            centre.clone_from(&best.1);
            width *= 0.4;
        }
        let (_, exponents, mut coefficients) = best;
        let offset = coefficients.pop().unwrap_or_default();
        Self { unit, exponents, coefficients, offset }
    }

    fn value(&self, tokens: f64) -> f64 {
        let log = (tokens / self.unit).ln();
        let powers = self.exponents.iter().zip(&self.coefficients);
        self.offset + powers.map(|(s, c)| c * box_cox(log, *s)).sum::<f64>()
    }

    fn slope(&self, tokens: f64) -> f64 {
        let x = tokens / self.unit;
        let powers = self.exponents.iter().zip(&self.coefficients);
        powers.map(|(s, c)| c * x.powf(s - 1.0) / self.unit).sum()
    }
}

fn box_cox(log: f64, s: f64) -> f64 {
    (s * log).exp_m1() / s
}

/// The squared error and the coefficients, the offset last, at these exponents.
fn linear(logs: &[f64], values: &[f64], exponents: &[f64]) -> Option<(f64, Vec<f64>)> {
    let k = exponents.len() + 1;
    let (mut gram, mut right) = (Matrix::zeros(k, k), vec![0.0; k]);
    let row = |log: f64| {
        let mut row = [1.0; 3];
        exponents.iter().enumerate().for_each(|(i, s)| row[i] = box_cox(log, *s));
        // The offset is the last of the k places that are used.
        row[exponents.len()] = 1.0;
        row
    };
    for (log, y) in logs.iter().zip(values) {
        let row = row(*log);
        for a in 0..k {
            right[a] += row[a] * y;
            (0..k).for_each(|b| gram.row_mut(a)[b] += row[a] * row[b]);
        }
    }
    let solution = solve_spd(gram, &right, 1e-13).ok()?;
    let error = logs.iter().zip(values).map(|(log, y)| {
        let fitted: f64 = row(*log).iter().zip(&solution).map(|(p, c)| p * c).sum();
        (fitted - y) * (fitted - y)
    });
    Some((error.sum(), solution))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn law(size: &str) -> CmrLaw {
        // Table 5 of the paper, T in units of 0.2B tokens.
        let [alpha, s, beta] = match size {
            "460M" => [0.22524761, 0.26944345, -0.48139982],
            "940M" => [0.7520627, 0.13720245, -1.06581937],
            "1.6B" => [-2.36384831, -0.15125569, 1.59223649],
            _ => [-2.5368197, -0.42071423, 0.84375368],
        };
        CmrLaw { alpha, s, beta }
    }

    fn feasible(ratio: CriticalRatio) -> f64 {
        match ratio {
            CriticalRatio::Feasible { ratio, .. } => ratio,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn published_constants_give_the_published_ratios() {
        for (size, percent) in [("460M", "29.8"), ("940M", "34.9"), ("1.6B", "41.4"), ("3.1B", "47.8")] {
            assert_eq!(
                format!("{:.1}", 100.0 * feasible(law(size).ratio(100.0).unwrap())),
                percent,
                "{size}"
            );
            let early = law(size).ratio(10.0).unwrap();
            assert!(
                matches!(early, CriticalRatio::Infeasible { reason: Infeasible::OutOfRange { value } } if value < 0.0),
                "{size}: {early:?}"
            );
        }
        assert!(law("460M").ratio(0.0).is_err());
    }

    #[test]
    fn a_law_is_recovered_from_its_points() {
        let tokens: Vec<f64> = (2..=12).map(|i| f64::from(i) * 10.0).collect();
        for size in ["460M", "940M", "1.6B", "3.1B"] {
            let truth = law(size);
            let ratios: Vec<f64> =
                tokens.iter().map(|t| truth.alpha * t.powf(truth.s) + truth.beta).collect();
            let fit = fit_cmr_law(&tokens, &ratios).unwrap();
            assert!(
                (fit.law.s - truth.s).abs() < 1e-4 && (fit.law.beta - truth.beta).abs() < 1e-3,
                "{fit:?}"
            );
            assert!(fit.rmse < 1e-8 && !fit.degenerate);
        }
        let logarithm: Vec<f64> = tokens.iter().map(|t| 0.1 * t.ln()).collect();
        let fit = fit_cmr_law(&tokens, &logarithm).unwrap();
        assert!(fit.degenerate && fit.rmse < 1e-6, "{fit:?}");
        let there = feasible(fit.law.ratio(120.0).unwrap());
        assert!((there - 0.1 * 120f64.ln()).abs() < 1e-4, "{there}");
    }

    /// General loss rises to a peak that grows with the ratio and then falls; domain loss falls.
    fn curve(ratio: f64) -> CmrCurve {
        let tokens: Vec<f64> = (1..=30).map(|i| f64::from(i) * 5.0).collect();
        let general = |t: f64| ratio * (0.2 * t.powf(0.4) - 0.09 * t.powf(0.6));
        let domain = |t: f64| 0.3 * t.powf(-0.3) - 0.5;
        CmrCurve {
            ratio,
            general: tokens.iter().map(|&t| general(t)).collect(),
            domain: tokens.iter().map(|&t| domain(t)).collect(),
            tokens,
        }
    }

    #[test]
    fn the_critical_ratio_is_where_the_general_loss_meets_the_tolerance() {
        let curves: Vec<CmrCurve> = [0.5, 0.125, 1.0, 0.25].map(curve).to_vec();
        let o = CmrOptions::default();
        let rise = |t: f64| 0.2 * t.powf(0.4) - 0.09 * t.powf(0.6);
        for t in [10.0, 20.0] {
            // The general curves are proportional to the ratio, so interpolation is exact.
            let found = feasible(critical_mixture_ratio(&curves, t, &o).unwrap());
            assert!((found - 0.05 / rise(t)).abs() < 1e-3, "{t}: {found} {}", 0.05 / rise(t));
        }
        // Far out the general loss is back below where it started, at every ratio.
        let late = critical_mixture_ratio(&curves, 150.0, &o).unwrap();
        assert_eq!(late, CriticalRatio::Feasible { ratio: 1.0, at_edge: true });

        let strict = critical_mixture_ratio(&curves, 20.0, &CmrOptions { tolerance: 0.001 }).unwrap();
        let CriticalRatio::Infeasible { reason: Infeasible::GeneralRises { least, at_ratio } } = strict
        else {
            panic!("{strict:?}")
        };
        assert!(at_ratio == 0.125 && (least - 0.125 * rise(20.0)).abs() < 1e-4);

        let mut stalled = curves.clone();
        stalled.iter_mut().for_each(|c| c.domain = c.tokens.iter().map(|t| 0.01 * t.sqrt()).collect());
        let none = critical_mixture_ratio(&stalled, 20.0, &o).unwrap();
        assert_eq!(none, CriticalRatio::Infeasible { reason: Infeasible::DomainStalls });
    }

    #[test]
    fn refuses_curves_that_cannot_be_fitted() {
        let o = CmrOptions::default();
        let e = |curves: &[CmrCurve], t: f64| critical_mixture_ratio(curves, t, &o).unwrap_err();
        assert_eq!(e(&[curve(0.5)], 10.0).code(), Code::EmptyInput);
        assert_eq!(e(&[curve(0.5), curve(0.5)], 10.0).code(), Code::DuplicateId);
        assert_eq!(e(&[curve(0.5), curve(0.25)], -1.0).code(), Code::InvalidArgument);
        let spoil = |change: fn(&mut CmrCurve)| {
            let mut bad = curve(0.25);
            change(&mut bad);
            e(&[curve(0.5), bad], 10.0)
        };
        assert_eq!(spoil(|c| c.general[3] = f64::NAN).location().row, Some(1));
        assert_eq!(spoil(|c| c.ratio = 0.0).code(), Code::InvalidValue);
        assert_eq!(spoil(|c| c.tokens[0] = 0.0).code(), Code::InvalidValue);
        assert_eq!(spoil(|c| c.tokens.truncate(5)).code(), Code::InvalidArgument);
        assert_eq!(fit_cmr_law(&[1.0, 2.0, 3.0], &[0.1; 3]).unwrap_err().code(), Code::EmptyInput);
    }
}
