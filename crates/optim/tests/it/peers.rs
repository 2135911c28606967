//! Equality with other implementations: `galore-torch`, by a fixture, and the algorithms as they are written down.

use gristmill_core::ops::MatmulOptions;
use gristmill_core::{DType, Device, Tensor};
use gristmill_optim::linalg::leading_vectors;
use gristmill_optim::{
    Algorithm, CondaOptions, GaLoreOptions, Group, MuonOptions, MuonScaling, Optimizer, OptimizerOptions,
    ProjType, Refresh,
};
use serde::Deserialize;
use std::collections::BTreeMap;

use crate::{devices, distance, host, numbers, one, tensor};

#[derive(Deserialize)]
struct Fixture {
    lr: f64,
    scale: f64,
    gap: u64,
    eps: f64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    r#type: ProjType,
    rows: usize,
    columns: usize,
    rank: usize,
    weight_decay: f64,
    projectors: BTreeMap<u64, Vec<Vec<f32>>>,
    weights: BTreeMap<u64, Vec<f32>>,
}

#[test]
fn twenty_steps_equal_those_of_galore_torch() {
    let fixture: Fixture = serde_json::from_str(include_str!("../fixtures/galore.json")).unwrap();
    assert_eq!((fixture.gap, fixture.cases.len()), (7, 8));
    for device in devices() {
        for case in &fixture.cases {
            let shape = [case.rows, case.columns];
            let weight = tensor(&device, 1000, &shape);
            let options = GaLoreOptions {
                rank: case.rank,
                scale: fixture.scale,
                proj_type: case.r#type,
                refresh: Refresh::Given,
                ..GaLoreOptions::default()
            };
            let mut group = Group::new(Algorithm::GaLore(options), vec![("w".into(), weight.clone())]);
            group.adam.lr = fixture.lr;
            group.adam.eps = fixture.eps;
            group.adam.weight_decay = case.weight_decay;
            let parity = OptimizerOptions { parity: true, ..OptimizerOptions::default() };
            let mut optimizer = Optimizer::new(&device, vec![group], parity).unwrap();
            for step in 0..20 {
                if let Some(bases) = case.projectors.get(&step) {
                    let basis = |values: &Vec<f32>| {
                        device.tensor(values.clone(), [values.len() / case.rank, case.rank]).unwrap()
                    };
                    // A matrix of right vectors comes as its rows; the fixture has turned it.
                    optimizer.set_projector("w", &bases.iter().map(basis).collect::<Vec<_>>()).unwrap();
                }
                optimizer.step(&[tensor(&device, step, &shape)]).unwrap();
                if let Some(expected) = case.weights.get(&(step + 1)) {
                    let far = distance(&host(&weight), expected);
                    assert!(far < 1e-5, "{:?} {shape:?} after {}: {far:e}", case.r#type, step + 1);
                }
            }
        }
    }
}

/// AdamW as PyTorch's documentation has it, in `f64`.
fn adamw(weight: &mut [f64], gradients: &[Vec<f32>], lr: f64, decay: f64) {
    let (mut m, mut v) = (vec![0.0; weight.len()], vec![0.0; weight.len()]);
    for (t, gradient) in gradients.iter().enumerate() {
        let t = t as i32 + 1;
        for (i, g) in gradient.iter().enumerate() {
            let g = f64::from(*g);
            m[i] = 0.9 * m[i] + 0.1 * g;
            v[i] = 0.999 * v[i] + 0.001 * g * g;
            weight[i] -= lr * decay * weight[i];
            let (m, v) = (m[i] / (1.0 - 0.9f64.powi(t)), v[i] / (1.0 - 0.999f64.powi(t)));
            weight[i] -= lr * m / (v.sqrt() + 1e-8);
        }
    }
}

#[test]
fn adamw_is_as_written_down() {
    for device in devices() {
        let weight = tensor(&device, 1, &[37, 9]);
        let mut expected: Vec<f64> = host(&weight).iter().map(|&x| x.into()).collect();
        let mut optimizer = one(&device, Algorithm::AdamW, &weight, |group| {
            group.adam.lr = 0.01;
            group.adam.weight_decay = 0.1;
        });
        let gradients: Vec<Vec<f32>> = (0..12).map(|t| numbers(50 + t, 37 * 9)).collect();
        for gradient in &gradients {
            optimizer.step(&[device.tensor(gradient.clone(), [37, 9]).unwrap()]).unwrap();
        }
        adamw(&mut expected, &gradients, 0.01, 0.1);
        let expected: Vec<f32> = expected.iter().map(|&x| x as f32).collect();
        assert!(distance(&host(&weight), &expected) < 1e-6);
    }
}

/// Conda with three products, as its reference code is described: momentum in the basis of the weight, turned at every step.
fn literal_conda(device: &Device, weight: &Tensor, gradients: &[Tensor], gap: usize, lr: f64) {
    let (rows, columns) = weight.shape().rows_cols();
    let right = rows >= columns;
    let m = device.zeros(DType::F32, [rows, columns]).unwrap();
    let mut v: Vec<f64> = vec![0.0; rows * columns];
    let mut basis = None;
    for (before, g) in gradients.iter().enumerate() {
        let t = before as i32 + 1;
        m.axpby(0.1, g, 0.9).unwrap();
        if before % gap == 0 {
            basis = Some(leading_vectors(&m, rows.min(columns), right).unwrap());
        }
        let p = basis.as_ref().unwrap();
        let turn = |x: &Tensor| match right {
            true => x.matmul(p, MatmulOptions::default()).unwrap(),
            false => p.matmul(x, MatmulOptions { trans_a: true, ..Default::default() }).unwrap(),
        };
        let (turned_g, turned_m) = (host(&turn(g)), host(&turn(&m)));
        let correction = (1.0 - 0.999f64.powi(t)).sqrt();
        let mut n = Vec::new();
        for ((v, g), m) in v.iter_mut().zip(turned_g).zip(turned_m) {
            *v = 0.999 * *v + 0.001 * f64::from(g).powi(2);
            n.push((f64::from(m) / (v.sqrt() + 1e-8 * correction)) as f32);
        }
        let n = device.tensor(n, [rows, columns]).unwrap();
        let back = match right {
            true => n.matmul(p, MatmulOptions { trans_b: true, ..Default::default() }).unwrap(),
            false => p.matmul(&n, MatmulOptions::default()).unwrap(),
        };
        let step = lr * correction / (1.0 - 0.9f64.powi(t));
        weight.axpy((-step * 0.25) as f32, &back).unwrap();
    }
}

#[test]
fn conda_in_rotated_form_is_the_literal_one() {
    let device = gristmill_cpu::open().unwrap();
    for shape in [[20, 12], [12, 20], [9, 9]] {
        let weight = tensor(&device, 1, &shape);
        let literal = weight.copy().unwrap();
        let gradients: Vec<_> = (0..11).map(|t| tensor(&device, 30 + t, &shape)).collect();
        let conda = CondaOptions { update_proj_gap: 4, scale: 0.25 };
        let mut optimizer = one(&device, Algorithm::Conda(conda), &weight, |group| group.adam.lr = 0.01);
        let mut refreshed = Vec::new();
        for gradient in &gradients {
            refreshed.push(optimizer.step(std::slice::from_ref(gradient)).unwrap().refreshed);
        }
        assert_eq!(refreshed, [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0]);
        literal_conda(&device, &literal, &gradients, 4, 0.01);
        let far = distance(&host(&weight), &host(&literal));
        assert!(far < 1e-4, "{shape:?}: {far:e}");
    }
}

#[test]
fn both_scalings_of_muon_go_the_same_way() {
    for device in devices() {
        for shape in [[24, 10], [10, 24]] {
            let start = tensor(&device, 1, &shape);
            let moved = |scaling: MuonScaling| {
                let weight = start.copy().unwrap();
                let options = MuonOptions { scaling, bf16: false, ..MuonOptions::default() };
                let mut optimizer =
                    one(&device, Algorithm::Muon(options), &weight, |group| group.adam.lr = 0.02);
                for t in 0..3 {
                    optimizer.step(&[tensor(&device, 40 + t, &shape)]).unwrap();
                }
                let before = host(&start);
                host(&weight).iter().zip(before).map(|(a, b)| f64::from(a - b)).collect::<Vec<f64>>()
            };
            let (a, b) = (moved(MuonScaling::Spectral), moved(MuonScaling::Rms));
            let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
            let cosine = dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt();
            assert!(cosine > 0.9999, "{cosine}");
            let ratio = (dot(&b, &b) / dot(&a, &a)).sqrt();
            let expected = 0.2 * 24f64.sqrt()
                / (f64::from(shape[0] as u32) / f64::from(shape[1] as u32)).max(1.0).sqrt();
            assert!((ratio / expected - 1.0).abs() < 1e-3, "{ratio} {expected}");
        }
    }
}
