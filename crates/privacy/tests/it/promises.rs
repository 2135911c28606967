//! What the accountants promise whatever the parameters.

use gristmill_core::Code;
use gristmill_privacy::{Accountant, Budget, Mechanism, Method, calibrate_noise};
use proptest::prelude::*;

use super::{accountant, epsilon};

#[test]
fn no_steps_cost_nothing_and_nobody_sampled_costs_nothing() {
    for method in [Method::Pld, Method::Rdp, Method::Gdp] {
        assert_eq!(Accountant::new().epsilon(1e-5, method).unwrap().epsilon, 0.0);
        assert_eq!(epsilon(1.0, 0.0, 1000, 1e-5, method), 0.0);
    }
}

#[test]
fn deltas_out_of_range_and_below_the_floor_fail() {
    let steps = accountant(1.0, 0.01, 1000);
    for delta in [0.0, 1.0, -1e-5, 2.0, f64::NAN, 1e-251, f64::MIN_POSITIVE] {
        for method in [Method::Pld, Method::Rdp, Method::Gdp] {
            let error = steps.epsilon(delta, method).unwrap_err();
            assert_eq!(error.location().column.as_deref(), Some("delta"), "{delta}");
        }
    }
    for epsilon in [-1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(steps.delta(epsilon, Method::Pld).unwrap_err().code(), Code::InvalidArgument);
    }
}

/// Where an FFT without a tilt has only rounding left.
#[test]
fn tiny_deltas_keep_their_digits() {
    let (exact, sampled) = (accountant(2.0, 1.0, 40), accountant(2.0, 1.0 - 1e-12, 40));
    for delta in [1e-5, 1e-14, 1e-40, 1e-120] {
        let exact = exact.epsilon(delta, Method::Pld).unwrap().epsilon;
        let numerical = sampled.epsilon(delta, Method::Pld).unwrap().epsilon;
        assert!(
            numerical >= exact * (1.0 - 1e-9) && numerical <= exact * 1.001,
            "{delta:e}: {numerical} for {exact}"
        );
    }
}

/// One step has a closed form: the loss grows with the outcome, so that delta is a difference of two tails.
#[test]
fn a_single_step_is_bounded_from_its_exact_delta_on() {
    let tail = |z: f64| 0.5 * libm::erfc(z / 2.0_f64.sqrt());
    for (sigma, q) in [(0.5, 0.01), (1.0, 0.3), (2.0, 0.9), (0.8, 1e-4)] {
        for epsilon in [0.01, 0.1, 0.5, 1.0, 3.0_f64] {
            let at = 0.5 + sigma * sigma * ((epsilon.exp_m1() + q) / q).ln();
            let removed = (1.0 - q) * tail(at / sigma) + q * tail((at - 1.0) / sigma)
                - epsilon.exp() * tail(at / sigma);
            // The other way round the loss is at most -ln(1 - q), and falls with the outcome.
            let below = ((-epsilon).exp_m1() + q) / q;
            let at = 0.5 + sigma * sigma * below.max(0.0).ln();
            let with = (1.0 - q) * tail(-at / sigma) + q * tail((1.0 - at) / sigma);
            let added = if below > 0.0 { tail(-at / sigma) - epsilon.exp() * with } else { 0.0 };
            let exact = removed.max(added);
            let ours = accountant(sigma, q, 1).delta(epsilon, Method::Pld).unwrap().delta;
            assert!(ours >= exact * (1.0 - 1e-10) - 1e-16, "{sigma} {q} {epsilon}: {ours:e} for {exact:e}");
            assert!(ours <= exact * 1.01 + 1e-15, "{sigma} {q} {epsilon}: {ours:e} for {exact:e}");
        }
    }
}

#[test]
fn a_state_that_was_saved_goes_on() {
    let mut before = accountant(1.1, 0.01, 300);
    before.record(Mechanism::new(0.9, 0.02).unwrap(), 5);
    let text = serde_json::to_string(&before).unwrap();
    let mut after: Accountant = serde_json::from_str(&text).unwrap();
    assert_eq!(before, after);
    for accountant in [&mut before, &mut after] {
        accountant.record(Mechanism::new(0.9, 0.02).unwrap(), 7);
    }
    assert_eq!((after.steps(), after.recorded().len()), (312, 2));
    assert_eq!(before.epsilon(1e-5, Method::Pld).unwrap(), after.epsilon(1e-5, Method::Pld).unwrap());
}

#[test]
fn a_state_that_was_tampered_with_is_refused() {
    let text = serde_json::to_string(&accountant(1.1, 0.01, 300)).unwrap();
    for (from, to) in [
        ("accountant/1", "accountant/2"),
        ("1.1", "0"),
        ("0.01", "-0.01"),
        ("300", "-300"),
        ("\"steps\"", "\"step\""),
    ] {
        assert!(text.contains(from), "{text}");
        assert!(serde_json::from_str::<Accountant>(&text.replace(from, to)).is_err(), "{from} to {to}");
    }
}

#[test]
fn a_schedule_is_composed_and_one_of_too_many_kinds_is_an_error() {
    let schedule = |kinds: u32| {
        let mut accountant = Accountant::new();
        for i in 0..kinds {
            let sigma = 1.0 + f64::from(i) / f64::from(kinds);
            accountant.record(Mechanism::new(sigma, 0.01).unwrap(), 10);
        }
        accountant
    };
    let spent = schedule(40).epsilon(1e-5, Method::Pld).unwrap().epsilon;
    // Between as many steps of the least noise and of the most.
    assert!(
        spent < epsilon(1.0, 0.01, 400, 1e-5, Method::Pld)
            && spent > epsilon(2.0, 0.01, 400, 1e-5, Method::Pld)
    );
    let many = schedule(300);
    assert_eq!(many.epsilon(1e-5, Method::Pld).unwrap_err().code(), Code::Unsupported);
    assert!(many.epsilon(1e-5, Method::Rdp).unwrap().epsilon > spent);
}

#[test]
fn budgets_that_cannot_be_kept_are_errors() {
    let budget = Budget { epsilon: 1.0, delta: 1e-5, sample_rate: 0.01, steps: 100 };
    for (wrong, option) in [
        (Budget { epsilon: 0.0, ..budget }, "epsilon"),
        (Budget { epsilon: f64::NAN, ..budget }, "epsilon"),
        (Budget { delta: 0.0, ..budget }, "delta"),
        (Budget { sample_rate: 1.5, ..budget }, "sampleRate"),
        (Budget { sample_rate: 0.0, ..budget }, "sampleRate"),
        (Budget { steps: 0, ..budget }, "steps"),
        (Budget { epsilon: 1e-12, delta: 1e-30, sample_rate: 1.0, steps: 1 << 40 }, "epsilon"),
    ] {
        let error = calibrate_noise(&wrong, Method::Pld).unwrap_err();
        assert_eq!(error.location().column.as_deref(), Some(option), "{wrong:?}: {error}");
    }
}

/// What hardly ever changes anything costs nothing, and a grid must not say otherwise.
#[test]
fn steps_that_cost_nothing_cost_nothing() {
    for (ln_sigma, ln_q, steps, ln_delta) in
        [(-0.44985_f64, -11.69438_f64, 1, -3.0_f64), (-0.74159, -11.71, 42, -6.8293)]
    {
        let (sigma, q, delta) = (ln_sigma.exp(), ln_q.exp(), ln_delta.exp());
        for steps in [steps, 2 * steps] {
            for delta in [delta, 10.0 * delta] {
                assert_eq!(epsilon(sigma, q, steps, delta, Method::Pld), 0.0, "{steps} {delta}");
            }
        }
    }
    // A little less delta than the distance of the distributions, and there is a price.
    assert!(epsilon(1.0, 0.5, 1, 0.191, Method::Pld) > 0.0);
    assert_eq!(epsilon(1.0, 0.5, 1, 0.192, Method::Pld), 0.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Over all orders of magnitude: an answer, below that of RDP, which falls with noise and delta and grows with steps.
    #[test]
    fn answers_are_ordered(
        ln_sigma in -1.0_f64..2.5,
        ln_q in -12.0_f64..-0.01,
        ln_steps in 0.0_f64..11.0,
        ln_delta in -60.0_f64..-3.0,
    ) {
        let (sigma, q, delta) = (ln_sigma.exp(), ln_q.exp(), ln_delta.exp());
        let steps = ln_steps.exp() as u64;
        let at = |sigma, steps, delta| epsilon(sigma, q, steps, delta, Method::Pld);
        let here = at(sigma, steps, delta);
        // The grids of two settings differ, within what each may add.
        let slack = here * 5e-4 + 1e-6;
        prop_assert!(here.is_finite() && here >= 0.0);
        prop_assert!(here <= epsilon(sigma, q, steps, delta, Method::Rdp) * (1.0 + 1e-3) + slack);
        prop_assert!(at(1.1 * sigma, steps, delta) <= here + slack);
        prop_assert!(at(sigma, 2 * steps, delta) >= here - slack);
        prop_assert!(at(sigma, steps, delta * 10.0) <= here + slack);
    }

    /// Delta and epsilon are each other's inverse, within what rounding up may add.
    #[test]
    fn delta_inverts_epsilon(sigma in 0.6_f64..3.0, q in 0.001_f64..0.2, steps in 1_u64..2000, ln_delta in -30.0_f64..-4.0) {
        let accountant = accountant(sigma, q, steps);
        let epsilon = accountant.epsilon(ln_delta.exp(), Method::Pld).unwrap().epsilon;
        prop_assume!(epsilon > 0.01);
        let back = accountant.delta(epsilon, Method::Pld).unwrap().delta.ln();
        prop_assert!((back - ln_delta).abs() < 0.05, "{ln_delta} became {back}");
    }

    /// What is calibrated keeps the budget, and hardly less noise does not.
    #[test]
    fn calibration_is_on_the_safe_side(epsilon in 0.1_f64..20.0, q in 0.001_f64..0.5, steps in 1_u64..5000) {
        let budget = Budget { epsilon, delta: 1e-6, sample_rate: q, steps };
        let sigma = calibrate_noise(&budget, Method::Pld).unwrap();
        prop_assert!(super::epsilon(sigma, q, steps, 1e-6, Method::Pld) <= epsilon);
        prop_assert!(super::epsilon(sigma * 0.997, q, steps, 1e-6, Method::Pld) > epsilon);
    }
}
