//! Whatever the records: one more, one less or another one changes the sum by no more than the sensitivity.

use gristmill_core::{DType, Device};
use gristmill_privacy::dp_sgd::{Adjacency, DpSgd};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::modes::modes;
use super::oracle::{Case, Layer, Numbers};
use super::{clipped, devices, difference, norm, options};

/// What is done to the numbers of one sample.
#[derive(Debug, Clone, Copy)]
enum Spell {
    Scaled(f32),
    /// Everything the same, and large.
    Constant(f32),
    Zeros,
    /// One number of one layer.
    Broken(f32),
}

fn spell() -> impl Strategy<Value = Spell> {
    prop_oneof![
        (-8_i32..12).prop_map(|e| Spell::Scaled(10f32.powi(e))),
        (-3_i32..8).prop_map(|e| Spell::Constant(10f32.powi(e))),
        Just(Spell::Zeros),
        prop_oneof![
            Just(f32::NAN),
            Just(f32::INFINITY),
            Just(f32::NEG_INFINITY),
            Just(f32::MAX),
            Just(1e-40)
        ]
        .prop_map(Spell::Broken),
    ]
}

/// A sample that somebody made up to break the bound.
fn sample(seed: u64, length: usize, spell: Spell, dtype: DType) -> Case {
    let mut case = Case { dtype, ..Case::of(seed, &[length]) };
    let which = Numbers(seed ^ 77).bits() as usize % case.layers.len();
    for (i, (_, layer)) in case.layers.iter_mut().enumerate() {
        let parts: Vec<&mut Vec<f32>> = match layer {
            Layer::Linear { x, dy, .. } => vec![x, dy],
            Layer::Embedding { dy, .. } => vec![dy],
            Layer::Norm { xhat, dy, .. } => vec![xhat, dy],
            Layer::Tied { dy, h, dlogits, .. } => vec![dy, h, dlogits],
        };
        for part in parts {
            match spell {
                Spell::Scaled(by) => part.iter_mut().for_each(|x| *x *= by),
                // Nearly so: the common part is what cancels.
                Spell::Constant(value) => part.iter_mut().for_each(|x| *x = value + 1e-3 * *x),
                Spell::Zeros => part.fill(0.0),
                Spell::Broken(value) if i == which && !part.is_empty() => part[0] = value,
                Spell::Broken(_) => {}
            }
        }
    }
    case
}

fn holds(device: &Device, samples: &[(u64, usize, Spell)], dtype: DType) -> Result<(), TestCaseError> {
    let made: Vec<Case> = samples.iter().map(|&(seed, n, spell)| sample(seed, n, spell, dtype)).collect();
    let (rest, [one, other]) = made.split_at(made.len() - 2) else { unreachable!() };
    let join = |cases: &[&Case]| cases.iter().skip(1).fold(cases[0].clone(), |all, case| all.join(case));
    let common: Vec<&Case> = rest.iter().collect();
    let with = |more: Option<&Case>| join(&[common.clone(), more.into_iter().collect()].concat());
    for (clipping, _) in modes() {
        let options = options(clipping.clone());
        let mut dp = DpSgd::new(device, options.clone()).unwrap();
        let bound = dp.sensitivity(Adjacency::AddRemove).unwrap();
        let replaced = dp.sensitivity(Adjacency::ReplaceOne).unwrap();
        let sum = |case: &Case| clipped(device, &options, case);
        let (without, first, second) = (sum(&with(None)), sum(&with(Some(one))), sum(&with(Some(other))));
        // What clipping keeps below the bound is more than the rounding of sums of so few samples: no slack.
        for added in [&first, &second] {
            let change = norm(&difference(added, &without));
            prop_assert!(change <= bound, "{clipping:?}: {change} of {bound}");
        }
        let change = norm(&difference(&first, &second));
        prop_assert!(change <= replaced, "{clipping:?}: {change} of {replaced}");
    }
    Ok(())
}

#[test]
fn one_record_changes_the_sum_by_at_most_the_sensitivity() {
    for (device, cases) in devices().iter().zip([24, 3]) {
        let mut runner = TestRunner::new_with_rng(
            ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) },
            proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
        );
        let samples = prop::collection::vec((any::<u64>(), 0..6_usize, spell()), 3..6);
        let dtypes = prop_oneof![Just(DType::F32), Just(DType::Bf16), Just(DType::F16)];
        runner.run(&(samples, dtypes), |(samples, dtype)| holds(device, &samples, dtype)).unwrap();
    }
}

/// Many rows, as sequences have, for the rounding of long sums.
#[test]
fn long_samples_keep_to_it_too() {
    for device in devices() {
        let long = |seed, spell| (seed, 200, spell);
        let samples = [
            long(1, Spell::Scaled(1.0)),
            long(2, Spell::Constant(30.0)),
            long(3, Spell::Scaled(1e3)),
            long(4, Spell::Constant(1e3)),
        ];
        holds(&device, &samples, DType::F32).unwrap();
    }
}
