//! States: what goes on, what is new, and what is refused.

use gristmill_core::{Code, Device};
use gristmill_privacy::dp_sgd::{Adjacency, Clipping, DpSgd, DpSgdOptions, NoiseSource};

use super::modes::modes;
use super::oracle::Case;
use super::{Sums, devices, difference, flat, host, norm, options};

fn step(dp: &mut DpSgd, device: &Device, seed: u64) -> Sums {
    Case::of(seed, &[2, 0, 3]).record(dp, device);
    host(&dp.step().unwrap())
}

#[test]
fn with_a_seed_resuming_is_as_if_nothing_had_been() {
    for device in devices() {
        for (clipping, _) in modes() {
            let make = || DpSgd::new(&device, options(clipping.clone())).unwrap();
            let mut straight = make();
            (0..3).for_each(|seed| drop(step(&mut straight, &device, seed)));
            let state = straight.save().unwrap();
            let mut resumed = make();
            resumed.load(&state).unwrap();
            assert_eq!(resumed.save().unwrap(), state);
            let [a, b] = [&mut straight, &mut resumed].map(|dp| step(dp, &device, 3));
            assert_eq!(a, b, "{clipping:?}");
            assert_eq!((resumed.steps(), resumed.accountant()), (4, straight.accountant()));
            let bounds = [straight, resumed].map(|mut dp| dp.sensitivity(Adjacency::AddRemove).unwrap());
            assert_eq!(bounds[0], bounds[1]);
        }
    }
}

/// One checkpoint, restored twice, and the run that went on: the noise of the same step differs everywhere.
#[test]
fn secret_noise_never_comes_twice() {
    for device in devices() {
        for rng in [NoiseSource::Secure, NoiseSource::Discrete] {
            let options = DpSgdOptions { noise_multiplier: 1.0, rng, seed: None, ..options(flat()) };
            let mut first = DpSgd::new(&device, options.clone()).unwrap();
            step(&mut first, &device, 1);
            let state = first.save().unwrap();
            let mut second = DpSgd::new(&device, options.clone()).unwrap();
            second.load(&state).unwrap();
            // Also where an engine goes back to a state of its own.
            let mut back = DpSgd::new(&device, options).unwrap();
            back.load(&state).unwrap();
            let before = step(&mut back, &device, 2);
            back.load(&state).unwrap();
            let all = [
                before,
                step(&mut back, &device, 2),
                step(&mut first, &device, 2),
                step(&mut second, &device, 2),
            ];
            for (i, a) in all.iter().enumerate() {
                for b in &all[..i] {
                    let apart = difference(a, b);
                    let numbers: Vec<f64> = apart.values().flat_map(|(w, b)| [&w[..], b].concat()).collect();
                    let same = numbers.iter().filter(|x| **x == 0.0).count();
                    assert!(same < 3, "{same} of {} numbers", numbers.len());
                    // Two independent noises of deviation 1.
                    let deviation = norm(&apart) / (2.0 * numbers.len() as f64).sqrt();
                    assert!((0.8..1.2).contains(&deviation), "{deviation}");
                }
            }
            assert_eq!(back.steps(), 2);
        }
    }
}

#[test]
fn states_of_another_run_are_refused_and_change_nothing() {
    let device = gristmill_cpu::open().unwrap();
    let ours = DpSgdOptions { noise_multiplier: 1.0, ..options(flat()) };
    let mut dp = DpSgd::new(&device, ours.clone()).unwrap();
    step(&mut dp, &device, 1);
    let good = dp.save().unwrap();
    let others = [
        ("clipping", DpSgdOptions { clipping: Clipping::Unit, ..ours.clone() }),
        ("clipping", DpSgdOptions { clipping: Clipping::Flat { max_grad_norm: 1.1 }, ..ours.clone() }),
        ("noiseMultiplier", DpSgdOptions { noise_multiplier: 0.9, ..ours.clone() }),
        ("sampleRate", DpSgdOptions { sample_rate: 0.4, ..ours.clone() }),
        ("expectedBatchSize", DpSgdOptions { expected_batch_size: 2.0, ..ours.clone() }),
        ("rng", DpSgdOptions { rng: NoiseSource::Secure, seed: None, ..ours.clone() }),
        ("seed", DpSgdOptions { seed: Some(1), ..ours.clone() }),
        ("layers", DpSgdOptions { layers: Some(["x".into()].into()), ..ours }),
    ];
    for (option, options) in others {
        let mut other = DpSgd::new(&device, options).unwrap();
        let refused = other.load(&good).unwrap_err();
        assert_eq!(
            (refused.code(), refused.location().column.as_deref()),
            (Code::InvalidArgument, Some(option)),
            "{refused}"
        );
        assert_eq!(other.steps(), 0);
    }
    for (from, to) in [
        ("dp-sgd/1", "dp-sgd/2"),
        ("\"step\":1", "\"step\":2"),
        ("\"step\":1", "\"stepp\":1"),
        ("\"steps\":1", "\"steps\":0"),
        ("\"format\"", "\"bound\":1.0,\"format\""),
    ] {
        let damaged = good.replacen(from, to, 1);
        assert_ne!(damaged, good, "{from}");
        assert_eq!(dp.load(&damaged).unwrap_err().code(), Code::CorruptData, "{from} to {to}");
        assert_eq!(dp.save().unwrap(), good);
    }
    for text in ["", "{}", "[1]", &good[..good.len() - 1]] {
        assert_eq!(dp.load(text).unwrap_err().code(), Code::CorruptData);
    }
    // An engine that has other layers already.
    let mut other = DpSgd::new(&device, dp.options().clone()).unwrap();
    Case::of(1, &[2]).only("ln").record(&mut other, &device);
    other.step().unwrap();
    assert!(other.load(&good).is_ok());
    let mut narrow = DpSgd::new(&device, dp.options().clone()).unwrap();
    Case::of(1, &[2]).only("ln").record(&mut narrow, &device);
    assert_eq!(narrow.load(&good).unwrap_err().location().column.as_deref(), Some("step"));
    assert_eq!(narrow.save().unwrap_err().location().column.as_deref(), Some("step"));
    dp.load(&good).unwrap();
}
