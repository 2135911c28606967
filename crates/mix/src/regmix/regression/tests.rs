use super::*;

fn names(prefix: &str, n: usize) -> Vec<String> {
    (0..n).map(|i| format!("{prefix}{i}")).collect()
}

/// Runs whose loss is `Σ w_i β_i` plus noise of this size.
fn planted(n: usize, beta: &[f64], noise: f64) -> Runs {
    let mut rng = rng::stream(3, "test", 0);
    let dirichlet = rng::Dirichlet::new(beta.iter().map(|_| 0.7));
    let (mut weights, mut losses) = (Matrix::zeros(n, beta.len()), Matrix::zeros(n, 1));
    for i in 0..n {
        dirichlet.sample(&mut rng, weights.row_mut(i));
        let clean: f64 = weights.row(i).iter().zip(beta).map(|(w, b)| w * b).sum();
        losses.row_mut(i)[0] = clean + noise * rng.random_range(-1.0..1.0);
    }
    Runs::new(names("d", beta.len()), weights, names("t", 1), losses).unwrap()
}

fn linear_options() -> FitOptions {
    FitOptions { regressor: Regressor::Linear { l2: 0.0 }, ..Default::default() }
}

fn fit(runs: &Runs, options: &FitOptions) -> Result<MixtureModel> {
    MixtureModel::fit(runs, "t0", options, &Control::default())
}

#[test]
fn linear_recovers_planted_losses_and_its_bags_cover_them() {
    let beta = [3.0, 2.0, 4.5, 1.0];
    let model = fit(&planted(200, &beta, 0.2), &linear_options()).unwrap();
    let corners = Matrix::from_rows(&[
        [1.0, 0.0, 0.0, 0.0],
        [0.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, 0.0],
        [0.0, 0.0, 0.0, 1.0],
    ]);
    for (e, b) in model.estimate(&corners).unwrap().iter().zip(beta) {
        assert!((e.value - b).abs() < 0.06, "{e:?} {b}");
        assert!(e.sd > 0.005 && e.sd < 0.06 && e.low < e.value && e.value < e.high, "{e:?}");
    }
    let held = model.report().held_out.unwrap();
    assert!(held.r2 > 0.95 && held.rmse < 0.14 && held.rmse > 0.10, "noise of rmse 0.115: {held:?}");
}

#[test]
fn a_concave_loss_is_fitted_by_its_own_kind_and_has_an_optimum_inside() {
    let mut runs = planted(60, &[0.0; 3], 0.0);
    let truth = |w: &[f64]| 3.0 - 0.8 * w[0].sqrt() - 0.4 * w[1].sqrt() + 0.1 * w[2];
    let losses = runs.weights().iter_rows().map(truth).collect();
    runs =
        Runs::new(names("d", 3), runs.weights().clone(), names("t", 1), Matrix::new(60, 1, losses).unwrap())
            .unwrap();
    let options = |regressor| FitOptions { regressor, bags: 0, folds: 5, seed: 0 };
    let model = fit(&runs, &options(Regressor::Concave { l2: 1e-9 })).unwrap();
    assert!(model.report().held_out.unwrap().rmse < 1e-4);
    let straight = fit(&runs, &options(Regressor::Linear { l2: 0.0 })).unwrap();
    assert!(straight.report().held_out.unwrap().rmse > 0.02);
    let at = Matrix::from_rows(&[[0.8, 0.2, 0.0]]);
    assert!((model.predict(&at).unwrap()[0] - truth(at.row(0))).abs() < 1e-4);
}

#[test]
fn experts_say_what_the_weights_alone_do_not() {
    // Tokens that each a different expert knows: the loss is not linear in the weights.
    let tokens = 90;
    let table = (0..tokens * 3).map(|i| if i % 3 == (i / 3) % 3 { -0.5 } else { -6.0 }).collect();
    let experts = Experts::new(names("d", 3), &Matrix::new(tokens, 3, table).unwrap()).unwrap();
    let weights = planted(40, &[0.0; 3], 0.0).weights().clone();
    let losses = experts.losses(&weights).unwrap().into_iter();
    let losses = losses.zip(weights.iter_rows()).map(|(l, w)| 0.8 * l + 0.3 * w[0] + 1.0).collect();
    let runs = Runs::new(names("d", 3), weights, names("t", 1), Matrix::new(40, 1, losses).unwrap()).unwrap();
    let control = Control::default();
    let fit = |experts, regressor| {
        let options = FitOptions { regressor, bags: 2, folds: 4, seed: 0 };
        MixtureModel::fit_with(&runs, "t0", experts, &options, &control)
    };
    let rmse = |model: &MixtureModel| model.report().held_out.unwrap().rmse;
    let linear = Regressor::Linear { l2: 0.0 };
    let with = fit(Some(&experts), linear.clone()).unwrap();
    assert!(rmse(&with) < 1e-5, "{:?}", with.report().held_out);
    assert!(rmse(&fit(None, linear.clone()).unwrap()) > 0.05);
    let alone = fit(Some(&experts), Regressor::Experts).unwrap();
    assert!(alone.report().held_out.unwrap().spearman > 0.9 && alone.bags() == 0);
    let text = serde_json::to_string(&with).unwrap();
    assert!(serde_json::from_str::<MixtureModel>(&text).unwrap() == with);
    assert_eq!(
        with.predict(runs.weights()).unwrap(),
        serde_json::from_str::<MixtureModel>(&text).unwrap().predict(runs.weights()).unwrap()
    );

    assert_eq!(fit(None, Regressor::Experts).unwrap_err().code(), Code::InvalidArgument);
    let others = Experts::new(names("x", 3), &Matrix::from_rows(&[[-1.0; 3]])).unwrap();
    assert_eq!(fit(Some(&others), linear).unwrap_err().location().column.as_deref(), Some("experts"));
}

#[test]
fn l2_pulls_towards_the_mean() {
    let runs = planted(60, &[3.0, 1.0], 0.0);
    let strong = FitOptions { regressor: Regressor::Linear { l2: 1e9 }, bags: 0, folds: 0, seed: 0 };
    let mean = runs.losses().column(0).iter().sum::<f64>() / 60.0;
    let p = fit(&runs, &strong).unwrap().predict(&Matrix::from_rows(&[[1.0, 0.0]])).unwrap()[0];
    assert!((p - mean).abs() < 1e-4);
}

#[test]
fn refuses_runs_that_cannot_teach() {
    let e = fit(&planted(3, &[1.0; 4], 0.0), &linear_options()).unwrap_err();
    assert_eq!(e.code(), Code::EmptyInput);
    let fixed = Runs::new(
        names("d", 3),
        Matrix::from_rows(&[[0.2, 0.3, 0.5], [0.2, 0.5, 0.3], [0.2, 0.4, 0.4], [0.2, 0.1, 0.7]]),
        names("t", 1),
        Matrix::from_rows(&[[1.0], [2.0], [3.0], [4.0]]),
    )
    .unwrap();
    let e = fit(&fixed, &FitOptions::default()).unwrap_err();
    assert_eq!((e.code(), e.location().column.as_deref()), (Code::InvalidValue, Some("d0")));
    let tied = Runs::new(
        names("d", 3),
        Matrix::from_rows(&[[0.2, 0.2, 0.6], [0.25, 0.25, 0.5], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4]]),
        names("t", 1),
        Matrix::from_rows(&[[1.0], [2.0], [3.0], [4.0]]),
    )
    .unwrap();
    let e = fit(&tied, &FitOptions { bags: 0, folds: 0, ..linear_options() }).unwrap_err();
    assert_eq!((e.code(), e.location().column.as_deref()), (Code::InvalidValue, Some("d1")));
    let good = planted(20, &[1.0, 2.0], 0.1);
    for folds in [1, 21] {
        let e = fit(&good, &FitOptions { folds, ..linear_options() }).unwrap_err();
        assert_eq!(e.location().column.as_deref(), Some("folds"));
    }
    let model = fit(&good, &linear_options()).unwrap();
    let e = model.predict(&Matrix::from_rows(&[[0.5, 0.5], [0.5, 0.6]])).unwrap_err();
    assert_eq!((e.code(), e.location().row), (Code::InvalidValue, Some(1)));
}

#[test]
fn comes_back_from_its_file() {
    let runs = planted(80, &[1.0, 2.0, 3.0], 0.1);
    let options = FitOptions {
        regressor: Regressor::Gbdt(GbdtOptions { trees: 20, ..Default::default() }),
        bags: 2,
        ..Default::default()
    };
    let model = fit(&runs, &options).unwrap();
    let path = std::env::temp_dir().join(format!("gristmill-mix-model-{}.json", std::process::id()));
    model.save(&path).unwrap();
    assert!(MixtureModel::load(&path).unwrap() == model, "not the same bits");

    let text = std::fs::read_to_string(&path).unwrap();
    let reload = |text: &str| {
        std::fs::write(&path, text).unwrap();
        MixtureModel::load(&path).unwrap_err()
    };
    let wider = text.replace("\"d2\"],\"ranges\"", "\"d2\",\"d3\"],\"ranges\"");
    assert_ne!(wider, text);
    assert!(reload(&wider).message().contains("domains"));
    let e = reload(&text.replace(FORMAT, "x/9"));
    assert_eq!(e.code(), Code::InvalidModel);
    assert!(e.location().path.is_some() && e.message().contains("x/9"));
    assert_eq!(reload(&text[..text.len() / 2]).code(), Code::InvalidModel);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(MixtureModel::load(&path).unwrap_err().code(), Code::NotFound);
}
