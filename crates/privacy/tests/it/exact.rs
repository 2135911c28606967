//! Against the exact epsilon, where there is one, and at the ends of the parameters.

use gristmill_privacy::{Accountant, Budget, Mechanism, Method, calibrate_noise};

use super::{accountant, epsilon};

/// The loss of one step grows with the outcome, so that delta is a difference of two tails. Its inverse by bisection in
/// mpmath with 60 digits: `(1 - q) T(a / sigma) + q T((a - 1) / sigma) - exp(epsilon) T(a / sigma)` with
/// `a = 1/2 + sigma^2 ln((exp(epsilon) - 1 + q) / q)`, or the other direction where that is more.
const ONE_STEP: [(f64, f64, f64, f64); 12] = [
    // Deltas close to the total variation, where epsilon ends, and losses that are mostly the largest one.
    (0.42, 0.048, 0.034, 0.027_936_713_650_528),
    (0.53, 0.0012, 2e-4, 0.018_785_936_461_052),
    (0.67, 0.0012, 6e-4, 0.000_256_419_390_420_83),
    (0.74, 4.5e-4, 4.5e-6, 0.014_115_993_755_822),
    (3.2, 4.4e-4, 4e-5, 3.789_341_911_526_5e-5),
    (1.0, 0.5, 0.19, 0.004_754_451_925_620_2),
    (0.5, 0.9, 0.6, 0.090_286_167_991_239),
    // So little noise that one of the densities is zero where the other one is not.
    (0.02, 0.01, 1e-5, 1_398.936_244_152_9),
    (0.03, 0.01, 1e-5, 653.002_039_919_27),
    (0.02, 0.01, 1e-3, 1_308.485_133_366_5),
    (0.005, 0.01, 1e-5, 20_612.448_945_964),
    (0.02, 0.999, 1e-5, 1_462.272_843_739_3),
];

#[test]
fn one_step_costs_what_it_costs() {
    for (sigma, q, delta, exact) in ONE_STEP {
        let ours = epsilon(sigma, q, 1, delta, Method::Pld);
        assert!(ours >= exact * (1.0 - 1e-12), "{sigma} {q} {delta}: {ours} is below {exact}");
        assert!(ours <= exact * (1.0 + 4e-4) + 1e-6, "{sigma} {q} {delta}: {ours} is far above {exact}");
        let back = accountant(sigma, q, 1).delta(exact, Method::Pld).unwrap().delta;
        assert!(back >= delta * (1.0 - 1e-9), "{sigma} {q} {exact}: a delta of {back} is below {delta}");
        assert!(back <= delta * 1.02, "{sigma} {q} {exact}: a delta of {back} is far above {delta}");
    }
}

/// dp-accounting 0.6.0, with a discretisation interval of 1e-5: losses rounded down, and up.
#[test]
fn large_deltas_of_dp_accounting() {
    for (sigma, q, steps, delta, below, above) in [
        (0.4, 0.001, 20, 0.008, 0.007_755_074_8, 0.007_850_666_1),
        (0.4, 0.001, 20, 0.01, 0.0, 0.0),
        (0.4, 0.001, 100, 0.03, 0.000_861_953_6, 0.001_338_750_3),
        (0.4, 1e-5, 1000, 1e-3, 0.000_248_200_0, 0.001_788_531_6),
    ] {
        let ours = epsilon(sigma, q, steps, delta, Method::Pld);
        assert!(ours >= below && ours <= above * (1.0 + 3e-4) + 1e-6, "{sigma} {q} {steps} {delta}: {ours}");
    }
}

/// Steps that are nearly alike are composed as several kinds, and cost what as many equal ones do.
#[test]
fn kinds_cost_what_one_kind_costs() {
    for (sigma, q, steps, delta) in
        [(0.9, 0.02, 300, 1e-6), (0.42, 0.004, 10, 0.01), (2.0, 0.05, 300, 0.2), (0.02, 0.01, 6, 1e-5)]
    {
        let mut kinds = Accountant::new();
        for i in 0..3 {
            let sigma = sigma * (1.0 + 1e-13 * f64::from(i));
            kinds.record(Mechanism::new(sigma, q).unwrap(), steps / 3);
        }
        // Steps so harmless that they do not count, and of quite another kind.
        kinds.record(Mechanism::new(1e4, 1e-9).unwrap(), 1);
        let (one, many) = (
            epsilon(sigma, q, steps / 3 * 3, delta, Method::Pld),
            kinds.epsilon(delta, Method::Pld).unwrap().epsilon,
        );
        assert!((one - many).abs() <= 4e-4 * one + 1e-6, "{sigma} {q} {steps} {delta}: {one} and {many}");
    }
}

/// Over many deltas and numbers of steps one after the other: each answer may be above the truth by what a grid adds, and
/// no more.
#[test]
fn epsilon_falls_with_delta_and_grows_with_steps() {
    let allowed = |epsilon: f64| 4e-4 * epsilon + 1e-6;
    for (sigma, q, steps) in [(1.2, 1e-3, 500), (0.8, 0.3, 4)] {
        let accountant = accountant(sigma, q, steps);
        let mut before = f64::INFINITY;
        for i in 0..16 {
            let delta = 0.5 * 0.4_f64.powi(16 - i);
            let here = accountant.epsilon(delta, Method::Pld).unwrap().epsilon;
            assert!(here <= before + allowed(before), "{sigma} {q} {steps}, {delta}: {here} after {before}");
            before = here;
        }
        for delta in [1e-7, 0.02] {
            let mut before = 0.0;
            for steps in (0..12).map(|i| 1 + i * i * i) {
                let here = epsilon(sigma, q, steps, delta, Method::Pld);
                assert!(
                    here >= before - allowed(before),
                    "{sigma} {q} {delta}, {steps}: {here} after {before}"
                );
                before = here;
            }
        }
    }
}

/// What rounding makes impossible to bound is an error, and never a small number.
#[test]
fn steps_without_number_are_not_free() {
    let (least, most) = (epsilon(1.0, 0.01, 1 << 20, 1e-5, Method::Pld), u64::MAX);
    for steps in [1 << 26, 1 << 40, (1 << 53) + 1, most] {
        for delta in [1e-5, 0.1] {
            let spent = accountant(1.0, 0.01, steps).epsilon(delta, Method::Pld);
            assert!(spent.is_err() || spent.unwrap().epsilon > least, "{steps} {delta}");
        }
    }
    let budget = Budget { epsilon: 1.0, delta: 1e-5, sample_rate: 0.01, steps: most };
    if let Ok(sigma) = calibrate_noise(&budget, Method::Pld) {
        // By the central limit, which is below the truth.
        assert!(epsilon(sigma, 0.01, most, 1e-5, Method::Gdp) <= 1.0, "{sigma}");
    }
    // More than an integer counts.
    let mut twice = accountant(1e6, 1.0, most);
    let once = twice.epsilon(1e-5, Method::Pld).unwrap().epsilon;
    twice.record(Mechanism::new(1e6, 1.0).unwrap(), most);
    for method in [Method::Pld, Method::Rdp] {
        assert!(twice.epsilon(1e-5, method).unwrap().epsilon > 1.9 * once, "{method:?}");
    }
    assert_eq!(twice.steps(), most);
}

/// Rates at the end of what numbers hold, and noise of a million sensitivities.
#[test]
fn hardly_any_sampling_is_hardly_any_loss() {
    for (sigma, q) in [(1e6, 5e-324), (1.0, 1e-320), (1e6, 1e-12), (1e6, 0.5)] {
        assert_eq!(epsilon(sigma, q, 1, 1e-5, Method::Pld), 0.0, "{sigma} {q}");
        for epsilon in [0.0, 1e-3, 10.0] {
            let delta = accountant(sigma, q, 1).delta(epsilon, Method::Pld).unwrap().delta;
            assert!(delta > 0.0 && delta < 1e-6, "{sigma} {q} {epsilon}: {delta}");
        }
    }
}

/// The tail of a normal distribution never ends.
#[test]
fn no_delta_is_zero() {
    for q in [1.0, 0.01] {
        for method in [Method::Pld, Method::Rdp] {
            let delta = accountant(2.0, q, 1).delta(1e5, method).unwrap().delta;
            assert!(delta > 0.0 && delta < 1e-100, "{q} {method:?}: {delta}");
        }
    }
}

/// Noise that is calibrated keeps the budget at large deltas too, by the exact delta of one step.
#[test]
fn calibration_at_large_deltas() {
    for (sigma, q, delta, exact) in ONE_STEP.into_iter().filter(|(sigma, ..)| *sigma > 0.9) {
        let budget = Budget { epsilon: exact, delta, sample_rate: q, steps: 1 };
        let noise = calibrate_noise(&budget, Method::Pld).unwrap();
        assert!(noise >= sigma * (1.0 - 1e-9), "{sigma} {q} {delta}: {noise} is too little");
        assert!(noise <= sigma * 1.003, "{sigma} {q} {delta}: {noise} is too much");
    }
}
