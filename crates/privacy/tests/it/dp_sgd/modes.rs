//! Every mode of clipping equals the loop over single samples, in one batch and in several.

use gristmill_privacy::dp_sgd::{Adjacency, Clipping, DpSgd, LayerGroup, LayerNorms, Recorded};

use super::layers::same;
use super::oracle::Case;
use super::{clipped, devices, difference, host, norm, options};

const NAMES: [&str; 6] = ["a.up", "b.down", "ln", "rms", "shared", "wte"];

/// Each mode for the layers of [`Case::of`], with its sensitivity.
pub(super) fn modes() -> Vec<(Clipping, f64)> {
    let group = |layers: &[&str], max_grad_norm| LayerGroup {
        layers: layers.iter().map(|&name| name.into()).collect(),
        max_grad_norm,
    };
    let groups =
        [("linear".into(), group(&NAMES[..2], 3.0)), ("rest".into(), group(&NAMES[2..], 4.0))].into();
    let each = NAMES.iter().enumerate().map(|(i, name)| ((*name).to_owned(), 0.5 * (i + 1) as f64)).collect();
    let per_layer = |max_grad_norm, eager| Clipping::PerLayer { max_grad_norm, eager };
    vec![
        (Clipping::Flat { max_grad_norm: 2.0 }, 2.0),
        (per_layer(LayerNorms::Together(2.0), true), 2.0),
        (per_layer(LayerNorms::Together(2.0), false), 2.0),
        (per_layer(LayerNorms::Each(each), true), 0.5 * 91f64.sqrt()),
        (Clipping::PerGroup { groups }, 5.0),
        (Clipping::Automatic { max_grad_norm: 2.0, gamma: 0.01 }, 2.0),
        (Clipping::Unit, 1.0),
        (Clipping::Threshold { max_grad_norm: 9.0 }, 9.0),
        (
            Clipping::Adaptive { max_grad_norm: 2.0, quantile: 0.5, learning_rate: 0.2, count_noise: None },
            2.0,
        ),
    ]
}

const LENGTHS: [usize; 6] = [3, 1, 0, 5, 2, 4];

#[test]
fn each_mode_is_the_loop_and_has_its_sensitivity() {
    for device in devices() {
        let case = Case::of(11, &LENGTHS);
        for (clipping, sensitivity) in modes() {
            let mut dp = DpSgd::new(&device, options(clipping.clone())).unwrap();
            let [one, two] =
                [Adjacency::AddRemove, Adjacency::ReplaceOne].map(|a| dp.sensitivity(a).unwrap());
            assert!((one - sensitivity).abs() < 1e-12 && two == 2.0 * one, "{clipping:?}: {one}");
            let want = case.expected(&clipping);
            assert!(norm(&want) > 0.1 * sensitivity, "{clipping:?} clips everything away");
            same(&clipped(&device, &options(clipping.clone()), &case), &want, sensitivity);
        }
    }
}

#[test]
fn micro_batches_are_one_step() {
    for device in devices() {
        let (first, second) = (Case::of(12, &LENGTHS), Case::of(13, &[2, 6]));
        for (clipping, sensitivity) in modes() {
            let mut want = first.expected(&clipping);
            for (name, (weight, bias)) in second.expected(&clipping) {
                let sum = want.get_mut(&name).unwrap();
                sum.0.iter_mut().zip(weight).for_each(|(a, b)| *a += b);
                sum.1.iter_mut().zip(bias).for_each(|(a, b)| *a += b);
            }
            let mut dp = DpSgd::new(&device, options(clipping.clone())).unwrap();
            first.record(&mut dp, &device);
            dp.accumulate().unwrap();
            assert_eq!((dp.steps(), dp.accountant().steps()), (0, 0));
            second.record(&mut dp, &device);
            let got = host(&dp.step().unwrap());
            assert_eq!((dp.steps(), dp.accountant().steps()), (1, 1));
            let mut nobody = DpSgd::new(&device, options(clipping)).unwrap();
            Case { lengths: Vec::new(), ..first.rows(0..0) }.record(&mut nobody, &device);
            same(&difference(&got, &host(&nobody.step().unwrap())), &want, sensitivity);
            let counts = dp.private_counts().unwrap();
            assert_eq!((counts.samples, counts.non_finite), (8, 0));
        }
    }
}

/// A layer with a known bound is clipped as soon as it is there, from the second batch on where the bound is a share.
#[test]
fn layers_with_their_own_bounds_are_clipped_at_once() {
    for device in devices() {
        let case = Case::of(14, &[4, 4]).only("a.up");
        let each = LayerNorms::Each([("a.up".into(), 1.0)].into());
        for (max_grad_norm, at_once) in [(each, true), (LayerNorms::Together(1.0), false)] {
            let clipping = Clipping::PerLayer { max_grad_norm, eager: true };
            let mut dp = DpSgd::new(&device, options(clipping.clone())).unwrap();
            let mut results = Vec::new();
            for known in [at_once, true] {
                let super::oracle::Layer::Linear { d, p, x, dy, .. } = &case.layers[0].1 else {
                    panic!("no linear layer")
                };
                let layer = gristmill_privacy::dp_sgd::Linear {
                    x: device.tensor(x.clone(), [2, 4, *d]).unwrap(),
                    dy: device.tensor(dy.clone(), [2, 4, *p]).unwrap(),
                    bias: true,
                    offsets: None,
                    method: None,
                };
                let (x, recorded) = (layer.x.clone(), dp.linear("a.up", layer).unwrap());
                assert_eq!(matches!(recorded, Recorded::Clipped(_)), known, "{recorded:?}");
                if known {
                    // Nobody looks at it any more.
                    device.run(gristmill_core::ops::Fill { out: x, value: f64::NAN }).unwrap();
                }
                results.push(host(&dp.step().unwrap()));
            }
            // The same but for the noise of two steps, of 0.001 for each of 40 numbers.
            assert!(norm(&difference(&results[0], &results[1])) < 0.02);
        }
    }
}

/// With the bound known, a sample that breaks later stays in the layers before: documented, and bounded all the same.
#[test]
fn at_once_a_sample_that_is_not_finite_is_left_out_from_that_layer_on() {
    for device in devices() {
        let each = LayerNorms::Each(NAMES.iter().map(|name| ((*name).to_owned(), 1.0)).collect());
        let clipping = Clipping::PerLayer { max_grad_norm: each, eager: true };
        let mut case = Case::of(15, &[2, 2]);
        let clean = case.expected(&clipping);
        // Layers are recorded from the last to the first; "rms" is the second of them.
        let broken = case.layers.iter_mut().find(|(name, _)| *name == "rms").unwrap();
        let super::oracle::Layer::Norm { xhat, .. } = &mut broken.1 else { panic!("no norm") };
        xhat[0] = f32::NAN;
        let (got, rest) =
            (clipped(&device, &options(clipping.clone()), &case), case.without(0).expected(&clipping));
        for (name, sums) in got {
            let want = if name == "shared" { &clean } else { &rest };
            let one = |s: &super::Sums| [(name.clone(), s[&name].clone())].into();
            same(&[(name.clone(), sums)].into(), &one(want), 1.0);
        }
    }
}

/// Bounds follow the share of samples within them, and noise follows the bound.
#[test]
fn an_adaptive_bound_goes_to_the_quantile() {
    for device in devices() {
        let clipping = |max_grad_norm, count_noise| Clipping::Adaptive {
            max_grad_norm,
            quantile: 0.5,
            learning_rate: 0.5,
            count_noise: Some(count_noise),
        };
        // Samples of one row whose gradients have the norms 1 to 16.
        let x: Vec<f32> = (1..=16).map(|i| i as f32).collect();
        let case = |factor: f32| Case {
            lengths: vec![1; 16],
            weights: None,
            layers: vec![(
                "w",
                super::oracle::Layer::Linear {
                    d: 1,
                    p: 1,
                    bias: false,
                    x: x.iter().map(|x| x * factor).collect(),
                    dy: vec![1.0; 16],
                },
            )],
            dtype: gristmill_core::DType::F32,
            method: None,
        };
        for start in [0.1, 100.0] {
            let mut options = options(clipping(start, 0.01));
            options.expected_batch_size = 16.0;
            let mut dp = DpSgd::new(&device, options).unwrap();
            for _ in 0..60 {
                case(1.0).record(&mut dp, &device);
                dp.step().unwrap();
            }
            let bound = dp.sensitivity(Adjacency::AddRemove).unwrap();
            assert!((7.5..9.5).contains(&bound), "{start} became {bound}");
        }
        // One step by hand: of 16 samples 4 are within 4.5; the noise of the count is small.
        let mut options = options(clipping(4.5, 0.01));
        options.expected_batch_size = 20.0;
        let mut dp = DpSgd::new(&device, options).unwrap();
        case(1.0).record(&mut dp, &device);
        dp.step().unwrap();
        let share = 0.5 + (4.0 - 8.0) / 20.0;
        let want = 4.5 * (-0.5 * (share - 0.5_f64)).exp();
        let bound = dp.sensitivity(Adjacency::AddRemove).unwrap();
        assert!((bound / want - 1.0).abs() < 2e-3, "{bound} for {want}");
    }
}
