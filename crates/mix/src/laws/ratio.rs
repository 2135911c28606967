use gristmill_core::{Code, Error, Result};

use super::form::LawForm;
use super::law::Law;

/// What [`solve_mixture_ratio`] looks for.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "goal", rename_all = "kebab-case")]
pub enum RatioGoal {
    /// The largest domain share at which the general loss stays at or below `limit`, such as 1.03 times what
    /// it was before. The law is that of the general loss, whose `r` is one minus the domain share.
    KeepGeneral {
        /// The general loss that may not be exceeded.
        limit: f64,
    },
    /// The domain share with the least domain loss when there are so many domain tokens and no more: general
    /// tokens fill up to `D = tokens / share`. The law is that of the domain loss, whose `r` is the share.
    DomainTokens {
        /// Tokens of the domain, in the unit of the law's `D`.
        tokens: f64,
    },
}

/// The answer to a question for a ratio.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(tag = "status", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum RatioSolution {
    /// There is one.
    Feasible {
        /// The share of the domain in the mixture, 0 to 1.
        domain_ratio: f64,
        /// The loss of the law there.
        loss: f64,
        /// The variables along which this extrapolates.
        extrapolated: Vec<String>,
    },
    /// No share will do.
    Infeasible {
        /// The loss that was asked for.
        limit: f64,
        /// The least loss that any share gives.
        least_loss: f64,
        /// The domain share with that loss.
        at_ratio: f64,
    },
}

/// Steps in which a share is first scanned; a crossing is then narrowed down by bisection.
const STEPS: usize = 4096;

/// Solves a law with a share `r` for the domain share that meets `goal`. `at` holds the law's variables in
/// their order; the place of `r` is not looked at, nor that of `D` for [`RatioGoal::DomainTokens`].
///
/// ```
/// use gristmill_mix::{Law, LawForm, RatioGoal, RatioSolution, solve_mixture_ratio};
///
/// // General loss 2.5 + 0.1 / (r + 0.1): all general gives 2.59, and 2.75 is reached at r = 0.3.
/// let law = Law::new(LawForm::Ratio, vec![2.5, 0.1, 0.1, 1.0])?;
/// let RatioSolution::Feasible { domain_ratio, .. } =
///     solve_mixture_ratio(&law, &[0.0], RatioGoal::KeepGeneral { limit: 2.75 })?
/// else {
///     panic!("it is feasible")
/// };
/// assert!((domain_ratio - 0.7).abs() < 1e-9);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
///
/// # Errors
/// A law without a share, values out of their domain.
pub fn solve_mixture_ratio(law: &Law, at: &[f64], goal: RatioGoal) -> Result<RatioSolution> {
    let Some(r) = law.form().ratio_variable() else {
        return Err(Error::new(Code::Unsupported, "a law without a share r has no ratio to solve for"));
    };
    let mut row = at.to_vec();
    if let Some(share) = row.get_mut(r) {
        *share = 0.5;
    }
    match goal {
        RatioGoal::KeepGeneral { limit } => {
            law.form().check_row(&row)?;
            if !limit.is_finite() {
                return Err(Error::invalid_argument("limit", "must be finite"));
            }
            Ok(keep_general(law, row, r, limit))
        }
        RatioGoal::DomainTokens { tokens } => {
            let Some(d) = law.form().variables().iter().position(|&v| v == "D") else {
                return Err(Error::new(
                    Code::Unsupported,
                    "a law without tokens D cannot trade them for a share",
                ));
            };
            if let Some(slot) = row.get_mut(d) {
                *slot = tokens;
            }
            law.form().check_row(&row)?;
            let mut loss = |share: f64| {
                (row[r], row[d]) = (share, tokens / share);
                law.value(&row)
            };
            let share = minimum(1.0 / STEPS as f64, 1.0, &mut loss);
            let loss = loss(share);
            Ok(RatioSolution::Feasible { domain_ratio: share, loss, extrapolated: outside(law, &row) })
        }
    }
}

fn keep_general(law: &Law, mut row: Vec<f64>, r: usize, limit: f64) -> RatioSolution {
    let mut loss = |ratio: f64| {
        row[r] = 1.0 - ratio;
        law.value(&row)
    };
    let grid = |i: usize| 1.0 - i as f64 / STEPS as f64;
    let (mut least_loss, mut at_ratio) = (f64::INFINITY, 1.0);
    for i in 0..=STEPS {
        let here = loss(grid(i));
        if here <= limit {
            let (mut good, mut bad) = (grid(i), if i == 0 { grid(0) } else { grid(i - 1) });
            for _ in 0..60 {
                let middle = (good + bad) / 2.0;
                *(if loss(middle) <= limit { &mut good } else { &mut bad }) = middle;
            }
            let here = loss(good);
            return RatioSolution::Feasible {
                domain_ratio: good,
                loss: here,
                extrapolated: outside(law, &row),
            };
        }
        if here < least_loss {
            (least_loss, at_ratio) = (here, grid(i));
        }
    }
    RatioSolution::Infeasible { limit, least_loss, at_ratio }
}

fn outside(law: &Law, row: &[f64]) -> Vec<String> {
    law.predict(row).map(|p| p.extrapolated).unwrap_or_default()
}

/// Where `f` is least between `low` and `high`, both positive: a scan in logarithm, then golden sections.
fn minimum(low: f64, high: f64, f: &mut impl FnMut(f64) -> f64) -> f64 {
    let point = |i: usize| low * ((high / low).ln() * i as f64 / STEPS as f64).exp();
    let best = (0..=STEPS).map(|i| (f(point(i)), i)).min_by(|a, b| a.0.total_cmp(&b.0)).map_or(0, |b| b.1);
    let (mut a, mut b) = (point(best.saturating_sub(1)), point((best + 1).min(STEPS)));
    let golden = (5f64.sqrt() - 1.0) / 2.0;
    while b - a > 1e-10 * b {
        let (c, d) = (b - golden * (b - a), a + golden * (b - a));
        if f(c) <= f(d) { b = d } else { a = c }
    }
    // An end may be better than what lies near it.
    let middle = (a + b) / 2.0;
    [middle, low, high].into_iter().min_by(|x, y| f(*x).total_cmp(&f(*y))).unwrap_or(middle)
}

/// How to spend a compute budget.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Allocation {
    /// Parameters, in the unit of the law's `N`.
    pub parameters: f64,
    /// Tokens, in the unit of the law's `D`.
    pub tokens: f64,
    /// The loss there.
    pub loss: f64,
    /// Whether it lies at an end of the sizes that were allowed, so that the true optimum is beyond.
    pub at_bound: bool,
    /// The variables along which this extrapolates.
    pub extrapolated: Vec<String>,
}

/// The size and the tokens with the least loss at a fixed compute, by `C = 6 N D`.
///
/// `compute` is `C / 6` in the units of the law: with `N` and `D` in billions, `C / 6e18`. `sizes` bounds `N`.
/// `at` holds the law's variables in their order, of which `N` and `D` are not looked at.
///
/// ```
/// use gristmill_mix::{Law, LawForm, allocate_compute};
///
/// let law = Law::new(LawForm::Chinchilla, vec![1.69, 406.4, 0.34, 410.7, 0.28])?;
/// let a = allocate_compute(&law, &[0.0, 0.0], 5.76e23 / 6.0, [1e8, 1e12])?;
/// // In closed form: N = (alpha A / (beta B)) ^ (1 / (alpha + beta)) (C / 6) ^ (beta / (alpha + beta)).
/// let n = (0.34f64 * 406.4 / (0.28 * 410.7)).powf(1.0 / 0.62) * (5.76e23f64 / 6.0).powf(0.28 / 0.62);
/// assert!((a.parameters / n - 1.0).abs() < 1e-6 && !a.at_bound);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
///
/// # Errors
/// A law without `N` and `D`, or values out of their domain.
pub fn allocate_compute(law: &Law, at: &[f64], compute: f64, sizes: [f64; 2]) -> Result<Allocation> {
    if matches!(law.form(), LawForm::Power | LawForm::Ratio) {
        return Err(Error::new(
            Code::Unsupported,
            "only a law with size N and tokens D can be allocated for",
        ));
    }
    if !(compute > 0.0 && compute.is_finite()) {
        return Err(Error::invalid_argument("compute", "must be positive"));
    }
    if !(sizes[0] > 0.0 && sizes[1] > sizes[0] && sizes[1].is_finite()) {
        return Err(Error::invalid_argument("sizes", "two positive sizes, the smaller one first"));
    }
    let mut row = at.to_vec();
    if row.len() >= 2 {
        (row[0], row[1]) = (sizes[0], compute / sizes[0]);
    }
    law.form().check_row(&row)?;
    let mut loss = |n: f64| {
        (row[0], row[1]) = (n, compute / n);
        law.value(&row)
    };
    let n = minimum(sizes[0], sizes[1], &mut loss);
    let loss = loss(n);
    Ok(Allocation {
        parameters: n,
        tokens: compute / n,
        loss,
        at_bound: n == sizes[0] || n == sizes[1],
        extrapolated: outside(law, &row),
    })
}

/// The largest domain ratio at which a general loss stays at or below `limit`, read off measured pairs of
/// ratio and loss by linear interpolation. Between the ratios that were measured it needs no law at all.
///
/// ```
/// use gristmill_mix::{RatioSolution, ratio_from_measurements};
///
/// let measured = [[0.25, 2.0], [0.5, 2.1], [0.75, 2.5]];
/// let solution = ratio_from_measurements(&measured, 2.3)?;
/// assert!(matches!(solution, RatioSolution::Feasible { domain_ratio, .. } if (domain_ratio - 0.625).abs() < 1e-9));
/// # Ok::<(), gristmill_core::Error>(())
/// ```
///
/// # Errors
/// No pair, a ratio that is no share or is there twice, a loss that is not finite.
pub fn ratio_from_measurements(measured: &[[f64; 2]], limit: f64) -> Result<RatioSolution> {
    if measured.is_empty() {
        return Err(Error::new(Code::EmptyInput, "no measurements"));
    }
    for (i, [ratio, loss]) in measured.iter().enumerate() {
        if !(0.0..=1.0).contains(ratio) || !loss.is_finite() {
            return Err(
                Error::new(Code::InvalidValue, format!("ratio {ratio}, loss {loss}")).at_row(i as u64)
            );
        }
    }
    let mut sorted = measured.to_vec();
    sorted.sort_by(|a, b| a[0].total_cmp(&b[0]));
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0][0] == pair[1][0]) {
        return Err(Error::new(Code::DuplicateId, format!("ratio {} was measured twice", pair[0][0])));
    }
    let Some(last) = sorted.iter().rposition(|[_, loss]| *loss <= limit) else {
        let best = sorted.iter().min_by(|a, b| a[1].total_cmp(&b[1])).unwrap_or(&sorted[0]);
        return Ok(RatioSolution::Infeasible { limit, least_loss: best[1], at_ratio: best[0] });
    };
    let [ratio, loss] = sorted[last];
    let (domain_ratio, loss) = match sorted.get(last + 1) {
        Some(next) => (ratio + (next[0] - ratio) * (limit - loss) / (next[1] - loss), limit),
        None => (ratio, loss),
    };
    Ok(RatioSolution::Feasible { domain_ratio, loss, extrapolated: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(solution: RatioSolution) -> f64 {
        match solution {
            RatioSolution::Feasible { domain_ratio, .. } => domain_ratio,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn finds_the_largest_of_several_shares() {
        // With B large, general loss first falls and then rises with the general share: two stretches obey.
        let law = Law::new(LawForm::Dcpt, vec![1.0, 1.0, 1.0, 0.6, 2.0, 1.0, 0.05, 0.02, 1.0]).unwrap();
        let at = [1.0, 1.0, 0.0];
        let loss = |ratio: f64| law.predict(&[1.0, 1.0, 1.0 - ratio]).unwrap().loss;
        let limit = 2.25;
        let found = ratio(solve_mixture_ratio(&law, &at, RatioGoal::KeepGeneral { limit }).unwrap());
        assert!((loss(found) - limit).abs() < 1e-9 && loss(found + 1e-6) > limit);
        assert!((0..=10_000).map(|i| f64::from(i) / 1e4).filter(|r| *r > found).all(|r| loss(r) > limit));
        assert_eq!(
            ratio(solve_mixture_ratio(&law, &at, RatioGoal::KeepGeneral { limit: 9.0 }).unwrap()),
            1.0
        );

        let none = solve_mixture_ratio(&law, &at, RatioGoal::KeepGeneral { limit: 2.0 }).unwrap();
        let RatioSolution::Infeasible { least_loss, at_ratio, limit } = none else { panic!("{none:?}") };
        assert!(limit == 2.0 && least_loss > 2.0 && (loss(at_ratio) - least_loss).abs() < 1e-12);
        assert!((0..=1000).all(|i| loss(f64::from(i) / 1e3) >= least_loss - 1e-6));
    }

    #[test]
    fn few_domain_tokens_are_best_stretched() {
        let law = Law::new(LawForm::Dcpt, vec![1.0, 0.5, 0.3, 1.0, 0.4, 0.5, 0.3, 0.1, 1.0]).unwrap();
        let at = [1.8, 0.0, 0.0];
        let solve =
            |tokens| ratio(solve_mixture_ratio(&law, &at, RatioGoal::DomainTokens { tokens }).unwrap());
        let loss = |tokens: f64, r: f64| law.predict(&[1.8, tokens / r, r]).unwrap().loss;
        for tokens in [0.1, 1.0, 10.0] {
            let found = solve(tokens);
            let best = (1..=1000).map(|i| loss(tokens, f64::from(i) / 1e3)).fold(f64::INFINITY, f64::min);
            assert!(loss(tokens, found) <= best + 1e-12);
        }
        assert!(solve(0.1) < solve(10.0));
    }

    #[test]
    fn measurements_are_interpolated_or_found_wanting() {
        let m = [[0.5, 2.1], [0.25, 2.0], [1.0, 3.0]];
        assert_eq!(ratio(ratio_from_measurements(&m, 3.5).unwrap()), 1.0);
        assert_eq!(ratio(ratio_from_measurements(&m, 2.1).unwrap()), 0.5);
        let none = ratio_from_measurements(&m, 1.9).unwrap();
        assert_eq!(none, RatioSolution::Infeasible { limit: 1.9, least_loss: 2.0, at_ratio: 0.25 });
        assert_eq!(ratio_from_measurements(&[], 1.0).unwrap_err().code(), Code::EmptyInput);
        let twice = ratio_from_measurements(&[[0.5, 1.0], [0.5, 2.0]], 1.0).unwrap_err();
        assert_eq!(twice.code(), Code::DuplicateId);
        assert_eq!(ratio_from_measurements(&[[1.5, 1.0]], 1.0).unwrap_err().location().row, Some(0));
    }

    #[test]
    fn refuses_questions_that_the_law_cannot_answer() {
        let power = Law::new(LawForm::Power, vec![1.0; 3]).unwrap();
        let keep = RatioGoal::KeepGeneral { limit: 1.0 };
        assert_eq!(solve_mixture_ratio(&power, &[1.0], keep).unwrap_err().code(), Code::Unsupported);
        assert_eq!(allocate_compute(&power, &[1.0], 1.0, [1.0, 2.0]).unwrap_err().code(), Code::Unsupported);
        let dcpt = Law::new(LawForm::Dcpt, vec![1.0; 9]).unwrap();
        assert_eq!(solve_mixture_ratio(&dcpt, &[1.0], keep).unwrap_err().code(), Code::InvalidArgument);
        let tokens = RatioGoal::DomainTokens { tokens: -1.0 };
        assert_eq!(
            solve_mixture_ratio(&dcpt, &[1.0, 1.0, 0.5], tokens).unwrap_err().location().column.as_deref(),
            Some("D")
        );
        assert!(allocate_compute(&dcpt, &[0.0, 0.0, 0.5], 1.0, [2.0, 1.0]).is_err());
        let up = allocate_compute(&dcpt, &[0.0, 0.0, 0.5], 4.0, [3.0, 9.0]).unwrap();
        assert!(up.at_bound && up.parameters == 3.0, "{up:?}");
    }
}
