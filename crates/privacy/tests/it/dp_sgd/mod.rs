//! The engine of DP-SGD against a loop over single samples in `f64`, and against what it promises.
//!
//! Runs on the CPU, and on wgpu where there is an adapter (which must be if `GRISTMILL_REQUIRE` names `wgpu`).

mod audit;
mod checkpoints;
mod input;
mod layers;
mod modes;
mod noise;
mod oracle;
mod sensitivity;

use std::collections::BTreeMap;

use gristmill_conformance::Opened;
use gristmill_core::Device;
use gristmill_privacy::dp_sgd::{Clipping, DpSgd, DpSgdOptions, Gradient, NoiseSource};

/// The devices of this machine that can be tested on.
fn devices() -> Vec<Opened> {
    let mut devices = vec![Opened::from(gristmill_cpu::open().unwrap())];
    let adapter = gristmill_wgpu::probe().into_iter().find(|a| a.unusable.is_none());
    let required = std::env::var("GRISTMILL_REQUIRE").is_ok_and(|r| r.split(',').any(|part| part == "wgpu"));
    assert!(adapter.is_some() || !required, "wgpu is required, and there is no adapter");
    devices.extend(adapter.map(|a| gristmill_wgpu::open(a.index, Default::default()).unwrap().into()));
    devices
}

/// Options whose noise is small and known.
fn options(clipping: Clipping) -> DpSgdOptions {
    DpSgdOptions {
        clipping,
        noise_multiplier: 1e-3,
        sample_rate: 0.5,
        expected_batch_size: 1.0,
        rng: NoiseSource::Reproducible,
        seed: Some(17),
        layers: None,
    }
}

fn flat() -> Clipping {
    Clipping::Flat { max_grad_norm: 1.0 }
}

type Sums = BTreeMap<String, (Vec<f64>, Vec<f64>)>;

/// Gradients on the host: weight and bias of each layer.
fn host(gradients: &BTreeMap<String, Gradient>) -> Sums {
    let read = |t: &gristmill_core::Tensor| t.to_vec::<f32>().unwrap().into_iter().map(f64::from).collect();
    gradients
        .iter()
        .map(|(name, g)| (name.clone(), (read(&g.weight), g.bias.as_ref().map_or(Vec::new(), read))))
        .collect()
}

/// What one has more than the other.
fn difference(a: &Sums, b: &Sums) -> Sums {
    let minus = |a: &[f64], b: &[f64]| {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f64>>()
    };
    assert!(a.keys().eq(b.keys()));
    a.iter()
        .map(|(name, (weight, bias))| (name.clone(), (minus(weight, &b[name].0), minus(bias, &b[name].1))))
        .collect()
}

/// The norm of all parameters together.
fn norm(sums: &Sums) -> f64 {
    sums.values().flat_map(|(w, b)| w.iter().chain(b)).map(|x| x * x).sum::<f64>().sqrt()
}

/// The clipped sums of a step: what the noise of the same step without anybody leaves of it.
fn clipped(device: &Device, options: &DpSgdOptions, case: &oracle::Case) -> Sums {
    let mut dp = DpSgd::new(device, options.clone()).unwrap();
    case.record(&mut dp, device);
    let with = host(&dp.step().unwrap());
    let nobody = oracle::Case { lengths: Vec::new(), weights: None, ..case.rows(0..0) };
    let mut dp = DpSgd::new(device, options.clone()).unwrap();
    nobody.record(&mut dp, device);
    difference(&with, &host(&dp.step().unwrap()))
}
