//! Gradients of several micro-batches: what a step along their sum does.

use gristmill_core::{Code, DType, Device, Tensor};
use gristmill_optim::{
    Algorithm, ApolloOptions, CondaOptions, FiraOptions, GaLoreOptions, Group, MuonOptions, Optimizer,
    OptimizerOptions, ProjType,
};

use crate::{devices, distance, host, numbers, tensor};

const STEPS: u64 = 5;
const MICRO: u64 = 3;
const SHAPES: [&[usize]; 2] = [&[20, 12], &[12, 20]];

fn algorithms() -> [Algorithm; 8] {
    let galore = GaLoreOptions { rank: 4, update_proj_gap: 3, ..GaLoreOptions::default() };
    [
        Algorithm::AdamW,
        Algorithm::GaLore(galore),
        Algorithm::GaLore(GaLoreOptions { proj_type: ProjType::Full, ..galore }),
        Algorithm::Conda(CondaOptions { update_proj_gap: 3, ..CondaOptions::default() }),
        Algorithm::Muon(MuonOptions { bf16: false, ..MuonOptions::default() }),
        Algorithm::Apollo(ApolloOptions { rank: 4, update_proj_gap: 3, ..ApolloOptions::default() }),
        Algorithm::Apollo(ApolloOptions::mini()),
        Algorithm::Fira(FiraOptions { rank: 4, update_proj_gap: 3, ..FiraOptions::default() }),
    ]
}

fn optimizer(device: &Device, algorithm: Algorithm, options: OptimizerOptions) -> (Optimizer, Vec<Tensor>) {
    let weights: Vec<_> = (1..).zip(SHAPES).map(|(seed, shape)| tensor(device, seed, shape)).collect();
    let params = weights.iter().enumerate().map(|(i, w)| (format!("w{i}"), w.clone())).collect();
    let mut group = Group::new(algorithm, params);
    group.adam.lr = 0.01;
    (Optimizer::new(device, vec![group], options).unwrap(), weights)
}

fn gradient(device: &Device, t: u64, micro: u64, i: usize) -> Tensor {
    tensor(device, 100 + 20 * t + 5 * micro + i as u64, SHAPES[i])
}

/// The sum of a step's gradients.
fn sum(device: &Device, t: u64, i: usize) -> Tensor {
    let n = SHAPES[i].iter().product();
    let mut sum = vec![0.0; n];
    for micro in 0..MICRO {
        let seed = 100 + 20 * t + 5 * micro + i as u64;
        sum.iter_mut().zip(numbers(seed, n)).for_each(|(sum, x)| *sum += x);
    }
    device.tensor(sum, SHAPES[i]).unwrap()
}

#[test]
fn a_step_along_what_was_accumulated_is_one_along_the_sum() {
    for device in devices() {
        for algorithm in algorithms() {
            let (mut whole, want) = optimizer(&device, algorithm, OptimizerOptions::default());
            let (mut last, with_last) = optimizer(&device, algorithm, OptimizerOptions::default());
            let (mut layers, by_layer) = optimizer(&device, algorithm, OptimizerOptions::default());
            for t in 0..STEPS {
                let report = whole.step(&[sum(&device, t, 0), sum(&device, t, 1)]).unwrap();
                for micro in 0..MICRO {
                    let gradients = [0, 1].map(|i| gradient(&device, t, micro, i));
                    if micro + 1 < MICRO {
                        let [a, b] = &gradients;
                        last.accumulate(&[("w1", b.clone()), ("w0", a.clone())]).unwrap();
                    } else {
                        let same = last.step(&gradients).unwrap();
                        assert_eq!((same.step, same.refreshed), (report.step, report.refreshed));
                    }
                    // Layer by layer, the last first, as a backward pass comes to them; each is overwritten at once.
                    for i in [1, 0] {
                        layers.accumulate(&[(&format!("w{i}"), gradients[i].clone())]).unwrap();
                        gradients[i].write(Box::new(vec![0xFF_u8; 960])).unwrap();
                    }
                }
                layers.step_accumulated().unwrap();
            }
            for (i, want) in want.iter().enumerate() {
                let (a, b) = (host(&with_last[i]), host(&by_layer[i]));
                if algorithm == Algorithm::AdamW {
                    assert_eq!(a, host(want));
                }
                let name = algorithm.name();
                assert!(distance(&a, &host(want)) < 2e-4, "{name} w{i}: {:e}", distance(&a, &host(want)));
                assert!(distance(&b, &host(want)) < 2e-4, "{name} w{i}: {:e}", distance(&b, &host(want)));
            }
        }
    }
}

#[test]
fn between_two_bases_the_sum_has_the_size_of_the_subspace() {
    let device = gristmill_cpu::open().unwrap();
    let galore = GaLoreOptions { rank: 4, update_proj_gap: 2, ..GaLoreOptions::default() };
    let (mut optimizer, _) = optimizer(&device, Algorithm::GaLore(galore), OptimizerOptions::default());
    for (t, bytes) in [(0, 4 * 240), (1, 4 * 20 * 4), (2, 4 * 240), (3, 4 * 20 * 4)] {
        for micro in 0..2 {
            optimizer.accumulate(&[("w0", gradient(&device, t, micro, 0))]).unwrap();
            assert_eq!(optimizer.memory().accumulated, bytes, "step {t}");
        }
        let refused = optimizer.step_accumulated().unwrap_err();
        assert_eq!((refused.code(), refused.location().path.as_deref()), (Code::InvalidArgument, Some("w1")));
        optimizer.accumulate(&[("w1", gradient(&device, t, 0, 1))]).unwrap();
        optimizer.step_accumulated().unwrap();
        assert_eq!(optimizer.memory().accumulated, 0);
    }
}

#[test]
fn what_scales_channels_accumulates_all_of_the_gradient() {
    let device = gristmill_cpu::open().unwrap();
    let fira = Algorithm::Fira(FiraOptions { rank: 4, ..FiraOptions::default() });
    for algorithm in [Algorithm::Apollo(ApolloOptions { rank: 4, ..ApolloOptions::default() }), fira] {
        let (mut optimizer, _) = optimizer(&device, algorithm, OptimizerOptions::default());
        for t in 0..2 {
            for i in 0..2 {
                optimizer.accumulate(&[(&format!("w{i}"), gradient(&device, t, 0, i))]).unwrap();
            }
            assert_eq!(optimizer.memory().accumulated, 2 * 4 * 240, "step {t}");
            optimizer.step_accumulated().unwrap();
        }
    }
}

#[test]
fn clipping_is_by_the_norm_of_the_sum() {
    let device = gristmill_cpu::open().unwrap();
    let options = OptimizerOptions { max_grad_norm: Some(0.5), ..OptimizerOptions::default() };
    let (mut whole, want) = optimizer(&device, Algorithm::AdamW, options);
    let (mut parts, got) = optimizer(&device, Algorithm::AdamW, options);
    for t in 0..3 {
        let norm = whole.step(&[sum(&device, t, 0), sum(&device, t, 1)]).unwrap().grad_norm;
        for micro in 0..MICRO {
            let [a, b] = [0, 1].map(|i| gradient(&device, t, micro, i));
            parts.accumulate(&[("w0", a), ("w1", b)]).unwrap();
        }
        assert_eq!(parts.step_accumulated().unwrap().grad_norm, norm);
    }
    assert!(want.iter().zip(&got).all(|(a, b)| host(a) == host(b)));
}

#[test]
fn one_gradient_that_is_not_finite_spoils_its_step_and_no_other() {
    for device in devices() {
        let (mut optimizer, weights) = optimizer(&device, Algorithm::AdamW, OptimizerOptions::default());
        let before: Vec<_> = weights.iter().map(host).collect();
        let mut values = numbers(9, 240);
        values[7] = f32::INFINITY;
        let wrong = device.tensor(values, SHAPES[0]).unwrap();
        optimizer.accumulate(&[("w0", wrong), ("w1", gradient(&device, 0, 0, 1))]).unwrap();
        let report = optimizer.step(&[0, 1].map(|i| gradient(&device, 0, 1, i))).unwrap();
        assert_eq!((report.applied, report.step, report.skipped), (false, 0, 1));
        assert!(weights.iter().zip(&before).all(|(w, before)| host(w) == *before));
        let report = optimizer.step(&[0, 1].map(|i| gradient(&device, 0, 1, i))).unwrap();
        assert_eq!((report.applied, report.step, report.skipped), (true, 1, 1));
    }
}

#[test]
fn what_waits_for_its_step_is_not_lost() {
    let device = gristmill_cpu::open().unwrap();
    let galore = GaLoreOptions { rank: 4, ..GaLoreOptions::default() };
    let (mut optimizer, _) = optimizer(&device, Algorithm::GaLore(galore), OptimizerOptions::default());
    let gradients = [0, 1].map(|i| gradient(&device, 0, 0, i));
    optimizer.step(&gradients).unwrap();
    let saved = optimizer.save().unwrap();
    let basis = optimizer.projector("w0").unwrap().to_vec();
    let before = optimizer.memory();
    let integers = device.zeros(DType::U32, SHAPES[1]).unwrap();
    for (given, code) in [
        (vec![("w0", gradients[0].clone()), ("w2", gradients[0].clone())], Code::InvalidArgument),
        (vec![("w0", gradients[0].clone()), ("w1", gradients[0].clone())], Code::ShapeMismatch),
        (vec![("w0", gradients[0].clone()), ("w1", integers)], Code::DtypeMismatch),
    ] {
        assert_eq!(optimizer.accumulate(&given).unwrap_err().code(), code);
        assert_eq!(optimizer.memory(), before, "nothing was added");
    }
    optimizer.accumulate(&[("w0", gradients[0].clone())]).unwrap();
    let refused =
        [optimizer.save().map(|_| ()), optimizer.load(&saved), optimizer.set_projector("w0", &basis)];
    assert!(
        refused.iter().all(|r| r.as_ref().is_err_and(|e| e.code() == Code::InvalidArgument)),
        "{refused:?}"
    );
    optimizer.step(&gradients).unwrap();
    optimizer.load(&saved).unwrap();
}
