//! RegMix on its published runs: fitted to the 512 proxies of 1M parameters alone, judged on mixtures that no
//! fit saw, at 1M and at 60M parameters.

use std::path::Path;

use gristmill_core::Control;
use gristmill_mix::stats::spearman;
use gristmill_mix::{
    FitOptions, MixtureModel, Objective, OptimizeOptions, Optimum, Regressor, Runs, optimize_mixture,
};

const PILE_CC: &str = "pile_cc";

/// Token shares of the 17 domains, as in `token_prior.yaml` of the published code, in the order of the runs.
const PRIOR: [f64; 17] = [
    0.113285273,
    0.079608651,
    0.003913491,
    0.185375901,
    0.051081359,
    0.015962925,
    0.101750772,
    0.003707518,
    0.066529351,
    0.001750772,
    0.027085479,
    0.236869207,
    0.01184346,
    0.007929969,
    0.008032956,
    0.038825953,
    0.046446962,
];

fn runs(folder: &Path, mixtures: &str, losses: &str) -> Runs {
    Runs::read_csv(folder.join(mixtures), folder.join(losses)).unwrap()
}

fn train(folder: &Path) -> Runs {
    runs(folder, "train_mixture_1m.csv", "train_pile_loss_1m.csv")
}

fn tests(folder: &Path) -> [Runs; 2] {
    ["1m", "60m"]
        .map(|size| runs(folder, &format!("test_mixture_{size}.csv"), &format!("test_pile_loss_{size}.csv")))
}

fn fit(runs: &Runs, target: &str, regressor: Regressor, bags: usize) -> MixtureModel {
    let options = FitOptions { regressor, bags, folds: 0, seed: 0 };
    MixtureModel::fit(runs, target, &options, &Control::default()).unwrap()
}

/// Spearman's correlation times 100 of each target, on the tests at 1M and at 60M.
fn correlations(folder: &Path, regressor: Regressor) -> Vec<(String, [f64; 2])> {
    let (train, tests) = (train(folder), tests(folder));
    let of = |target: &String| {
        let model = fit(&train, target, regressor.clone(), 0);
        let rho = tests.each_ref().map(|test| {
            let measured = test.losses().column(test.target(target).unwrap());
            100.0 * spearman(&model.predict(test.weights()).unwrap(), &measured)
        });
        (target.clone(), rho)
    };
    train.targets().iter().map(of).collect()
}

fn optimum(folder: &Path, regressor: Regressor, bags: usize) -> Optimum {
    let model = fit(&train(folder), PILE_CC, regressor, bags);
    let objective = [Objective { model: &model, weight: 1.0 }];
    optimize_mixture(&objective, &PRIOR, &OptimizeOptions::default(), &Control::default()).unwrap()
}

#[test]
fn trees_rank_mixtures_at_1m_and_at_60m() {
    let Some(folder) = crate::shared("regmix") else { return };
    let all = correlations(&folder, Regressor::default());
    eprintln!("{all:#?}");
    let pile_cc = all.iter().find(|(name, _)| name.contains(PILE_CC)).unwrap().1;
    assert!(pile_cc[0] >= 98.5 && pile_cc[1] >= 98.0, "{pile_cc:?}");
    let mean = |size: usize| all.iter().map(|(_, rho)| rho[size]).sum::<f64>() / all.len() as f64;
    assert_eq!(all.len(), 13);
    assert!(mean(0) >= 98.5 && mean(1) >= 98.0, "{} {}", mean(0), mean(1));
}

#[test]
fn a_linear_fit_ranks_them_worse() {
    let Some(folder) = crate::shared("regmix") else { return };
    let all = correlations(&folder, Regressor::Linear { l2: 0.0 });
    let pile_cc = all.iter().find(|(name, _)| name.contains(PILE_CC)).unwrap().1;
    assert!(pile_cc.iter().all(|rho| (89.0..91.0).contains(rho)), "{pile_cc:?}");
}

#[test]
fn the_optimum_is_nearly_all_of_pile_cc_and_the_bags_agree() {
    let Some(folder) = crate::shared("regmix") else { return };
    let o = optimum(&folder, Regressor::default(), 4);
    let best = o.domains.iter().max_by(|a, b| a.weight.value.total_cmp(&b.weight.value)).unwrap();
    assert_eq!(best.domain, "train_the_pile_pile_cc");
    assert!((0.85..=0.92).contains(&best.weight.value), "{best:?}");
    // The bags move the optimum by far more than its digits suggest, which is why they are shown.
    assert!(best.weight.low > 0.5 && best.weight.high < 0.97 && best.weight.sd > 0.01, "{best:?}");
    assert!(o.gain.low > 0.1, "better than the prior in every bag: {:?}", o.gain);
    let sum: f64 = o.weights().iter().sum();
    assert!((sum - 1.0).abs() < 1e-9);
}

#[test]
fn held_out_folds_foretell_the_test() {
    let Some(folder) = crate::shared("regmix") else { return };
    let options = FitOptions { bags: 0, ..Default::default() };
    let model = MixtureModel::fit(&train(&folder), PILE_CC, &options, &Control::default()).unwrap();
    let [test, _] = tests(&folder);
    let measured = test.losses().column(test.target(PILE_CC).unwrap());
    let rho = spearman(&model.predict(test.weights()).unwrap(), &measured);
    let held_out = model.report().held_out.unwrap().spearman;
    assert!((held_out - rho).abs() < 0.01 && model.report().fitted.spearman > held_out, "{held_out} {rho}");
}
