//! Optimizers against what is known of them: other implementations, identities, and what must not depend on the device.
//!
//! Runs on the CPU, and on wgpu where there is an adapter (which must be if `GRISTMILL_REQUIRE` names `wgpu`).

mod accumulation;
mod bases;
mod channels;
mod checkpoints;
mod identities;
mod import;
mod input;
mod lost;
mod osp;
mod peers;
mod rounding;

use gristmill_conformance::Opened;
use gristmill_core::{Device, Tensor};
use gristmill_optim::{Algorithm, Group, Optimizer, OptimizerOptions};

/// The devices of this machine that can be tested on.
fn devices() -> Vec<Opened> {
    let mut devices = vec![Opened::from(gristmill_cpu::open().unwrap())];
    let adapter = gristmill_wgpu::probe().into_iter().find(|a| a.unusable.is_none());
    let required = std::env::var("GRISTMILL_REQUIRE").is_ok_and(|r| r.split(',').any(|part| part == "wgpu"));
    assert!(adapter.is_some() || !required, "wgpu is required, and there is no adapter");
    devices.extend(adapter.map(|a| gristmill_wgpu::open(a.index, Default::default()).unwrap().into()));
    devices
}

/// The numbers of `tests/fixtures/galore.py`: from -0.5 to 0.5, exact in `f32`.
fn numbers(seed: u64, n: usize) -> Vec<f32> {
    let number = |i: u64| {
        let x = (i as u32).wrapping_mul(2_654_435_761).wrapping_add(974_711);
        let x = (x ^ x >> 15).wrapping_mul(2_246_822_519);
        (x >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..n as u64).map(|i| number(seed * 65_536 + i)).collect()
}

fn tensor(device: &Device, seed: u64, shape: &[usize]) -> Tensor {
    device.tensor(numbers(seed, shape.iter().product()), shape.to_vec()).unwrap()
}

fn host(t: &Tensor) -> Vec<f32> {
    t.to_vec().unwrap()
}

/// An optimizer of one weight.
fn one(device: &Device, algorithm: Algorithm, weight: &Tensor, change: impl FnOnce(&mut Group)) -> Optimizer {
    let mut group = Group::new(algorithm, vec![("w".into(), weight.clone())]);
    change(&mut group);
    Optimizer::new(device, vec![group], OptimizerOptions::default()).unwrap()
}

/// The greatest difference, relative to the greatest magnitude.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let size = b.iter().fold(0f64, |max, x| max.max(f64::from(x.abs())));
    let worst = a.iter().zip(b).map(|(a, b)| f64::from(a - b).abs()).fold(0.0, f64::max);
    assert!(worst.is_finite());
    worst / size.max(f64::MIN_POSITIVE)
}
