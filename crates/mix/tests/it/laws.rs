//! The laws on synthetic runs of the published design and on published measurements.

use gristmill_core::{Code, Control};
use gristmill_mix::{
    Law, LawFit, LawForm, LawOptions, Matrix, RatioGoal, RatioSolution, Residual, fit_law,
    ratio_from_measurements, solve_mixture_ratio,
};

/// E, A, alpha, B, eta, beta, C, epsilon, gamma; sizes and tokens in billions.
const TRUTH: [f64; 9] = [1.2, 0.6, 0.6, 0.9, 0.6, 0.5, 0.3, 0.1, 1.0];

/// Three sizes, nine shares, twenty checkpoints, as the paper trained: 540 points.
fn design() -> Matrix {
    let mut data = Vec::new();
    for n in [0.5, 1.8, 4.0] {
        for r in [0.0, 0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 0.9, 1.0] {
            for step in 1..=20 {
                data.extend([n, f64::from(step), r]);
            }
        }
    }
    Matrix::new(540, 3, data).unwrap()
}

/// Losses of the law with a relative noise of this standard deviation, the same on every run.
fn losses(law: &Law, points: &Matrix, noise: f64, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let mut normal = || (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
    points.iter_rows().map(|row| law.predict(row).unwrap().loss * (1.0 + noise * normal())).collect()
}

fn fit(form: LawForm, points: &Matrix, losses: &[f64], options: &LawOptions) -> LawFit {
    fit_law(form, points, losses, options, &Control::default()).unwrap()
}

#[test]
fn dcpt_recovers_its_parameters() {
    let truth = Law::new(LawForm::Dcpt, TRUTH.to_vec()).unwrap();
    let points = design();
    let options = LawOptions { folds: 0, extrapolate: false, ..Default::default() };
    let exact = fit(LawForm::Dcpt, &points, &losses(&truth, &points, 0.0, 1), &options);
    for (found, expected) in exact.law.parameters().iter().zip(TRUTH) {
        assert!((found / expected - 1.0).abs() < 1e-3, "{exact:?}");
    }
    // With 0.2% of noise one draw of it alone moves C by 2%, so that the mean over several is looked at.
    let mut mean = [0.0; 9];
    for seed in 1..=6 {
        let fitted = fit(LawForm::Dcpt, &points, &losses(&truth, &points, 0.002, seed), &options);
        mean.iter_mut().zip(fitted.law.parameters()).for_each(|(m, p)| *m += p / 6.0);
    }
    for ((name, found), expected) in LawForm::Dcpt.parameters().iter().zip(mean).zip(TRUTH) {
        let off = found / expected - 1.0;
        assert!(off.abs() < 0.03, "{name} off by {:.1}%", 100.0 * off);
    }
}

#[test]
fn a_fit_says_what_it_is_worth_and_flags_another_size() {
    let truth = Law::new(LawForm::Dcpt, TRUTH.to_vec()).unwrap();
    let points = design();
    let fitted = fit(LawForm::Dcpt, &points, &losses(&truth, &points, 0.002, 1), &LawOptions::default());
    for spread in &fitted.starts.spread {
        assert!(spread.low <= spread.value && spread.value <= spread.high);
    }
    assert!(fitted.starts.near_best >= 10, "{:?}", fitted.starts);
    let held_out = fitted.held_out.unwrap();
    assert!(held_out.r2 > 0.999 && held_out.rmse < 1.2 * fitted.fitted.rmse, "{held_out:?}");
    assert_eq!(fitted.residuals.len(), 540);

    // Only three sizes: the largest one is foretold worse than points that were merely held out.
    let largest = fitted.extrapolation.iter().find(|check| check.variable == "N").unwrap();
    assert!(largest.value == 4.0 && largest.agreement.rmse > held_out.rmse, "{largest:?}");

    let inside = fitted.law.predict(&[1.8, 10.0, 0.4]).unwrap();
    assert!(inside.extrapolated.is_empty());
    assert_eq!(fitted.law.predict(&[7.0, 10.0, 0.4]).unwrap().extrapolated, ["N"]);
}

#[test]
fn a_share_that_was_held_out_is_foretold() {
    let truth = Law::new(LawForm::Dcpt, TRUTH.to_vec()).unwrap();
    let points = design();
    let losses = losses(&truth, &points, 0.002, 1);
    let (rest, held): (Vec<usize>, Vec<usize>) = (0..540).partition(|&i| points.row(i)[2] != 0.5);
    let pick = |rows: &[usize]| rows.iter().map(|&i| losses[i]).collect::<Vec<_>>();
    let options = LawOptions { folds: 0, extrapolate: false, ..Default::default() };
    let fitted = fit(LawForm::Dcpt, &points.select(&rest), &pick(&rest), &options);
    for &i in &held {
        let p = fitted.law.predict(points.row(i)).unwrap();
        assert!((p.loss / truth.predict(points.row(i)).unwrap().loss - 1.0).abs() < 0.002);
        assert!(p.extrapolated.is_empty());
    }
}

#[test]
fn exact_data_are_fitted_exactly_whatever_the_residual() {
    let truth = Law::new(LawForm::Chinchilla, vec![1.7, 0.9, 0.34, 1.4, 0.28]).unwrap();
    let rows: Vec<f64> =
        (0..6).flat_map(|i| (0..6).flat_map(move |j| [f64::powi(2.0, i), f64::powi(3.0, j)])).collect();
    let points = Matrix::new(36, 2, rows).unwrap();
    let exact = losses(&truth, &points, 0.0, 1);
    for residual in [Residual::Log, Residual::Plain] {
        let fitted =
            fit(LawForm::Chinchilla, &points, &exact, &LawOptions { residual, ..Default::default() });
        for (p, t) in fitted.law.parameters().iter().zip(truth.parameters()) {
            assert!((p / t - 1.0).abs() < 1e-3, "{fitted:?}");
        }
    }
    // One loss that is far off moves a Huber fit little.
    let mut spoilt = exact.clone();
    spoilt[7] *= 1.5;
    let options = LawOptions { folds: 0, extrapolate: false, ..Default::default() };
    let fitted = fit(LawForm::Chinchilla, &points, &spoilt, &options);
    assert!((fitted.law.parameter("E").unwrap() / 1.7 - 1.0).abs() < 0.01, "{:?}", fitted.law);
}

#[test]
fn another_domain_is_foretold_from_its_hardness() {
    let truth = [&TRUTH[..], &[0.8, 0.9, 1.4, 2.0]].concat();
    let truth = Law::new(LawForm::CrossDomain, truth).unwrap();
    let domains = [[2.1, 0.10], [2.6, 0.22], [3.1, 0.15], [1.8, 0.30], [2.4, 0.05]];
    let mut data = Vec::new();
    for [k1, k2] in domains {
        for row in design().iter_rows().step_by(7) {
            data.extend(row.iter().copied().chain([k1, k2]));
        }
    }
    let points = Matrix::new(data.len() / 5, 5, data).unwrap();
    let losses = losses(&truth, &points, 0.001, 1);
    let options = LawOptions { folds: 0, extrapolate: false, starts: 24, ..Default::default() };
    let fitted = fit(LawForm::CrossDomain, &points, &losses, &options);
    assert!(fitted.fitted.r2 > 0.999, "{:?}", fitted.fitted);
    // A domain between the others, of which no point was seen.
    for row in design().iter_rows().step_by(11) {
        let row = [row, &[2.3, 0.18]].concat();
        let (p, t) = (fitted.law.predict(&row).unwrap(), truth.predict(&row).unwrap());
        assert!((p.loss / t.loss - 1.0).abs() < 0.005 && p.extrapolated.is_empty(), "{p:?} {t:?}");
    }
}

/// Share of the chemistry corpus and general loss, Qwen1.5-1.8B after 10B tokens: table 5 of the D-CPT paper,
/// without the ratio that the paper's law chose, and the general loss before training.
const CHEMISTRY: [[f64; 2]; 6] =
    [[0.90, 2.9052], [0.91, 2.9193], [0.92, 2.9376], [0.93, 2.9644], [0.94, 2.9848], [1.0, 3.4667]];
const BEFORE: f64 = 2.8602;

#[test]
fn chemistry_may_have_924_parts_in_a_thousand() {
    let limit = 1.03 * BEFORE;
    let ratio = |solution: RatioSolution| match solution {
        RatioSolution::Feasible { domain_ratio, .. } => domain_ratio,
        other => panic!("{other:?}"),
    };
    // With the run at 0.924, which was made to check the prediction, the measurements themselves cross there.
    let measured = [&CHEMISTRY[..], &[[0.924, 2.9445]]].concat();
    assert_eq!(format!("{:.3}", ratio(ratio_from_measurements(&measured, limit).unwrap())), "0.924");

    // A law fitted without that run finds it.
    let general: Vec<f64> = CHEMISTRY.iter().map(|[share, _]| 1.0 - share).collect();
    let losses: Vec<f64> = CHEMISTRY.iter().map(|[_, loss]| *loss).collect();
    let options = LawOptions { folds: 0, ..Default::default() };
    let fitted = fit(LawForm::Ratio, &Matrix::new(6, 1, general).unwrap(), &losses, &options);
    let solved = solve_mixture_ratio(&fitted.law, &[0.0], RatioGoal::KeepGeneral { limit }).unwrap();
    assert!((ratio(solved) - 0.924).abs() < 0.002, "{fitted:?}");
}

#[test]
fn refuses_points_that_determine_no_law() {
    let points = design();
    let y = vec![2.0; 540];
    let refuse = |form, points: &Matrix, y: &[f64], o: LawOptions| {
        fit_law(form, points, y, &o, &Control::default()).unwrap_err()
    };
    let d = LawOptions::default;
    let rows: Vec<usize> = (0..8).collect();
    assert_eq!(refuse(LawForm::Dcpt, &points.select(&rows), &y[..8], d()).code(), Code::EmptyInput);
    let one_size: Vec<usize> = (0..180).collect();
    let e = refuse(LawForm::Dcpt, &points.select(&one_size), &y[..180], d());
    assert_eq!((e.code(), e.location().column.as_deref()), (Code::InvalidValue, Some("N")));
    let mut bad = y.clone();
    bad[17] = f64::NAN;
    let e = refuse(LawForm::Dcpt, &points, &bad, d());
    assert_eq!((e.code(), e.location().row), (Code::InvalidValue, Some(17)));
    let mut negative = points.clone();
    negative.row_mut(5)[1] = -1.0;
    let e = refuse(LawForm::Dcpt, &negative, &y, d());
    assert_eq!((e.location().row, e.location().column.as_deref()), (Some(5), Some("D")));
    for o in [
        LawOptions { delta: 0.0, ..d() },
        LawOptions { starts: 0, ..d() },
        LawOptions { folds: 1, ..d() },
        LawOptions { folds: 541, ..d() },
    ] {
        assert_eq!(refuse(LawForm::Dcpt, &points, &y, o).code(), Code::InvalidArgument);
    }
    let cancelled = Control::default();
    cancelled.cancel_token().cancel();
    let e = fit_law(LawForm::Dcpt, &points, &y, &d(), &cancelled).unwrap_err();
    assert_eq!(e.code(), Code::Aborted);
}
