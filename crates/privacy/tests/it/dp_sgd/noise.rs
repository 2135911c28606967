//! How much noise a step has, and that it depends on nothing that it should not.

use gristmill_core::{DType, Device};
use gristmill_privacy::dp_sgd::{Batch, Clipping, DpSgd, DpSgdOptions, LayerNorms, Linear, NoiseSource};
use gristmill_privacy::{Accountant, Mechanism, Method};

use super::modes::modes;
use super::oracle::Case;
use super::{devices, difference, flat, host, norm, options};

/// One linear layer of 64 · 48 and a bias, in a batch with nobody.
fn empty(dp: &mut DpSgd, device: &Device) {
    let x = device.zeros(DType::F32, [0, 64]).unwrap();
    let dy = device.zeros(DType::F32, [0, 48]).unwrap();
    dp.linear("w", Linear { x, dy, bias: true, offsets: None, method: None }).unwrap();
}

/// All numbers of a step.
fn numbers(dp: &mut DpSgd, device: &Device) -> Vec<f64> {
    empty(dp, device);
    host(&dp.step().unwrap()).into_values().flat_map(|(weight, bias)| [weight, bias].concat()).collect()
}

#[test]
fn it_is_sigma_times_the_sensitivity_over_the_expected_batch_size() {
    for device in devices() {
        for rng in [NoiseSource::Secure, NoiseSource::Reproducible] {
            for (clipping, gradient_sigma) in [
                (Clipping::Flat { max_grad_norm: 3.0 }, 1.5),
                (Clipping::PerLayer { max_grad_norm: LayerNorms::Together(3.0), eager: true }, 1.5),
                (
                    Clipping::Adaptive {
                        max_grad_norm: 3.0,
                        quantile: 0.5,
                        learning_rate: 0.2,
                        count_noise: Some(1.0),
                    },
                    (1.5f64.powi(-2) - 0.25).powf(-0.5),
                ),
            ] {
                let seed = (rng == NoiseSource::Reproducible).then_some(3);
                let options = DpSgdOptions {
                    noise_multiplier: 1.5,
                    expected_batch_size: 8.0,
                    rng,
                    seed,
                    ..options(clipping.clone())
                };
                let mut dp = DpSgd::new(&device, options).unwrap();
                let all = numbers(&mut dp, &device);
                let n = all.len() as f64;
                assert_eq!(all.len(), 64 * 48 + 48);
                let std = gradient_sigma * 3.0 / 8.0;
                let mean = all.iter().sum::<f64>() / n;
                let variance = all.iter().map(|x| x * x).sum::<f64>() / n;
                assert!(mean.abs() < 5.0 * std / n.sqrt(), "{clipping:?}: {mean}");
                // Five deviations of the variance of normal numbers.
                let apart = (variance / (std * std) - 1.0).abs();
                assert!(apart < 5.0 * (2.0 / n).sqrt(), "{clipping:?} {rng:?}: {apart}");
            }
        }
    }
}

/// The share of numbers that two lists have in common.
fn common(a: &[f64], b: &[f64]) -> usize {
    a.iter().zip(b).filter(|(a, b)| a == b).count()
}

#[test]
fn steps_layers_and_engines_have_noise_of_their_own() {
    for device in devices() {
        let reproducible = DpSgdOptions { noise_multiplier: 1.0, ..options(flat()) };
        let make = |options: &DpSgdOptions| DpSgd::new(&device, options.clone()).unwrap();
        let mut dp = make(&reproducible);
        let (first, second) = (numbers(&mut dp, &device), numbers(&mut dp, &device));
        assert!(common(&first, &second) < 3);
        // Weight and bias are two tensors, and elements are apart from each other.
        assert!(common(&first[..48], &first[64 * 48..]) < 2 && common(&first[1..], &first[..64 * 48]) < 3);
        assert_eq!(numbers(&mut make(&reproducible), &device), first);
        let other = DpSgdOptions { seed: Some(18), ..reproducible.clone() };
        assert!(common(&numbers(&mut make(&other), &device), &first) < 3);
        let secure = DpSgdOptions { rng: NoiseSource::Secure, seed: None, ..reproducible };
        let (a, b) = (numbers(&mut make(&secure), &device), numbers(&mut make(&secure), &device));
        assert!(common(&a, &b) < 3);
        assert!(!format!("{:?}", make(&secure)).contains("key: ["));
    }
}

#[test]
fn reproducible_noise_has_the_same_bits_on_every_device() {
    let all: Vec<_> = devices()
        .iter()
        .map(|device| numbers(&mut DpSgd::new(device, options(flat())).unwrap(), device))
        .collect();
    assert!(all.iter().all(|one| *one == all[0]));
}

/// Batches without anybody in them, in all the ways that they come.
#[test]
fn a_batch_without_anybody_has_noise_and_counts_as_a_step() {
    for device in devices() {
        for (clipping, _) in modes() {
            let mut dp = DpSgd::new(&device, options(clipping)).unwrap();
            let case = Case::of(21, &[2, 3]);
            Case { lengths: Vec::new(), ..case.rows(0..0) }.record(&mut dp, &device);
            let rows = host(&dp.step().unwrap());
            Case { weights: Some(vec![0.0, 0.0]), ..case.clone() }.record(&mut dp, &device);
            let padding = host(&dp.step().unwrap());
            let nothing = host(&dp.empty_step().unwrap());
            for sums in [rows, padding, nothing] {
                assert_eq!(sums.len(), 6);
                assert!(sums.values().all(|(w, b)| w.iter().chain(b).all(|x| *x != 0.0 && x.is_finite())));
            }
            assert_eq!((dp.steps(), dp.accountant().steps()), (3, 3));
            assert_eq!(dp.private_counts().unwrap().samples, 0);
        }
    }
}

#[test]
fn steps_are_accounted_with_the_multiplier_of_the_options() {
    let device = gristmill_cpu::open().unwrap();
    for (clipping, _) in modes() {
        let mut dp = DpSgd::new(
            &device,
            DpSgdOptions { noise_multiplier: 1.1, sample_rate: 0.01, ..options(clipping.clone()) },
        )
        .unwrap();
        for _ in 0..5 {
            match &clipping {
                // Whose layers are those of the cases.
                Clipping::PerGroup { .. } | Clipping::PerLayer { max_grad_norm: LayerNorms::Each(_), .. } => {
                    Case::of(22, &[1]).record(&mut dp, &device);
                }
                _ => {
                    dp.batch(Batch::default()).unwrap();
                    empty(&mut dp, &device);
                }
            }
            dp.step().unwrap();
        }
        let mut want = Accountant::new();
        want.record(Mechanism::new(1.1, 0.01).unwrap(), 5);
        assert_eq!(*dp.accountant(), want);
        assert!(dp.accountant().epsilon(1e-5, Method::Pld).unwrap().epsilon > 0.1);
    }
}

/// Noise on the grid cannot be taken away again: sums are the loop's within the noise that there is, and the noise is as much
/// as it should be.
#[test]
fn discrete_noise_is_on_the_sums_of_the_loop() {
    for device in devices() {
        for (clipping, sensitivity) in modes() {
            if matches!(clipping, Clipping::Adaptive { .. }) {
                continue;
            }
            let discrete =
                DpSgdOptions { rng: NoiseSource::Discrete, seed: None, ..options(clipping.clone()) };
            let mut case = Case::of(23, &[3, 0, 2, 4]);
            case.weights = Some(vec![1.0, 1.0, 0.0, 1.0]);
            let mut dp = DpSgd::new(&device, discrete).unwrap();
            case.record(&mut dp, &device);
            dp.accumulate().unwrap();
            case.record(&mut dp, &device);
            let got = host(&dp.step().unwrap());
            let mut want = case.expected(&clipping);
            want.values_mut().for_each(|(w, b)| w.iter_mut().chain(b).for_each(|x| *x *= 2.0));
            let parameters: usize = got.values().map(|(w, b)| w.len() + b.len()).sum();
            let noise = norm(&difference(&got, &want)) / (1e-3 * sensitivity * (parameters as f64).sqrt());
            assert!((0.7..1.3).contains(&noise), "{clipping:?}: {noise} of what it should be");
            assert_eq!(dp.private_counts().unwrap().samples, 6);
            let nothing = norm(&host(&dp.empty_step().unwrap()));
            let noise = nothing / (1e-3 * sensitivity * (parameters as f64).sqrt());
            assert!((0.7..1.3).contains(&noise), "{clipping:?}: {noise} of what it should be");
        }
    }
}
