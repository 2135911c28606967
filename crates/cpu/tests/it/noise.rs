//! Gaussian noise is Gaussian.

use gristmill_core::ops::{NoiseGenerator, NoiseOptions};
use gristmill_core::{Device, Tensor};

const N: usize = 1 << 21;

fn options(generator: NoiseGenerator) -> NoiseOptions {
    let mut key = [0; 32];
    key[..8].copy_from_slice(b"fixed so");
    NoiseOptions { generator, key, step: 5, tensor: 3, std: 1.0, scale: 1.0 }
}

fn draws(device: &Device, n: usize, options: NoiseOptions) -> Vec<f64> {
    let y = device.tensor(vec![0f32; n], [n]).unwrap();
    y.add_gaussian_noise(options).unwrap();
    y.to_vec::<f32>().unwrap().into_iter().map(f64::from).collect()
}

fn moment(draws: &[f64], power: i32) -> f64 {
    draws.iter().map(|x| x.powi(power)).sum::<f64>() / draws.len() as f64
}

/// The distribution function of the normal distribution, by its series.
fn phi(x: f64) -> f64 {
    if x.abs() > 8.0 {
        return if x > 0.0 { 1.0 } else { 0.0 };
    }
    let (mut term, mut sum) = (x, x);
    for k in 1..400 {
        term *= x * x / f64::from(2 * k + 1);
        sum += term;
    }
    0.5 + sum * (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
}

/// The greatest distance between the distribution of some draws and the normal one.
fn kolmogorov_smirnov(draws: &[f64]) -> f64 {
    let mut sorted = draws.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len() as f64;
    let distance = |(i, &x): (usize, &f64)| {
        let p = phi(x);
        (p - i as f64 / n).max((i + 1) as f64 / n - p)
    };
    sorted.iter().enumerate().map(distance).fold(0.0, f64::max)
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / a.len() as f64
}

#[test]
fn two_million_draws_are_normal() {
    let device = gristmill_cpu::open().unwrap();
    for generator in NoiseGenerator::ALL {
        let x = draws(&device, N, options(generator));
        let root = (N as f64).sqrt();
        // Moments within five of their standard deviations: 1, sqrt 2, sqrt 15, sqrt 96 over the root.
        assert!(moment(&x, 1).abs() < 5.0 / root, "{generator:?} mean {}", moment(&x, 1));
        assert!((moment(&x, 2) - 1.0).abs() < 5.0 * 2f64.sqrt() / root, "{generator:?} {}", moment(&x, 2));
        assert!(moment(&x, 3).abs() < 5.0 * 15f64.sqrt() / root, "{generator:?} {}", moment(&x, 3));
        assert!((moment(&x, 4) - 3.0).abs() < 5.0 * 96f64.sqrt() / root, "{generator:?} {}", moment(&x, 4));
        // One sample in a thousand of such a size is further away.
        let distance = kolmogorov_smirnov(&x);
        assert!(distance < 1.95 / root, "{generator:?} {distance}");
        // Each of the two numbers of a pair for itself, too.
        for odd in [0, 1] {
            let half: Vec<f64> = x.iter().skip(odd).step_by(2).copied().collect();
            assert!(kolmogorov_smirnov(&half) < 1.95 / (half.len() as f64).sqrt(), "{generator:?} {odd}");
        }
        // About 2.4 and 0.12 of two million lie beyond 4.9 and 5.5.
        let beyond = |limit: f64| x.iter().filter(|x| x.abs() > limit).count();
        assert!((0..=10).contains(&beyond(4.9)) && beyond(4.0) > 80 && beyond(7.0) == 0, "{generator:?}");
    }
}

#[test]
fn what_should_be_independent_is() {
    let device = gristmill_cpu::open().unwrap();
    for generator in NoiseGenerator::ALL {
        let base = options(generator);
        let x = draws(&device, N, base);
        let mut key = base.key;
        key[0] ^= 1;
        let others = [
            draws(&device, N, NoiseOptions { step: 6, ..base }),
            draws(&device, N, NoiseOptions { step: 5 | 1 << 32, ..base }),
            draws(&device, N, NoiseOptions { tensor: 4, ..base }),
            draws(&device, N, NoiseOptions { key, ..base }),
            // Neighbours: the other of a pair, the next pair, the next block.
            [&x[1..], &x[..1]].concat(),
            [&x[2..], &x[..2]].concat(),
            [&x[8..], &x[..8]].concat(),
        ];
        let bound = 5.0 / (N as f64).sqrt();
        for (i, other) in others.iter().enumerate() {
            let c = correlation(&x, other);
            assert!(c.abs() < bound, "{generator:?} {i}: {c}");
            // Sizes are independent too: squares, less their mean, with a standard deviation of 2.
            let squares = |x: &[f64]| x.iter().map(|x| x * x - 1.0).collect::<Vec<_>>();
            let c = correlation(&squares(&x), &squares(other)) / 2.0;
            assert!(c.abs() < bound, "{generator:?} {i}, squares: {c}");
        }
    }
}

#[test]
fn noise_depends_on_where_an_element_is_and_on_nothing_else() {
    let device = gristmill_cpu::open().unwrap();
    for generator in NoiseGenerator::ALL {
        let long = draws(&device, 200_000, options(generator));
        for n in [1, 63, 64, 65, 1000, 70_001] {
            assert_eq!(draws(&device, n, options(generator)), long[..n], "{generator:?} {n}");
        }
    }
}

#[test]
fn what_would_weaken_noise_is_refused() {
    let device = gristmill_cpu::open().unwrap();
    let y: Tensor = device.tensor(vec![0f32; 4], [4]).unwrap();
    let good = options(NoiseGenerator::Philox);
    y.add_gaussian_noise(good).unwrap();
    let mut long = good.key;
    long[31] = 1;
    for (what, bad) in [
        ("std", NoiseOptions { std: -1.0, ..good }),
        ("std", NoiseOptions { std: f64::NAN, ..good }),
        ("std", NoiseOptions { std: 1e300, ..good }),
        ("scale", NoiseOptions { scale: 0.0, ..good }),
        ("scale", NoiseOptions { scale: f64::INFINITY, ..good }),
        ("key", NoiseOptions { key: long, ..good }),
    ] {
        let e = y.add_gaussian_noise(bad).unwrap_err();
        assert_eq!(e.location().column.as_deref(), Some(what), "{e}");
    }
    // A key of 32 bytes is one of ChaCha20.
    y.add_gaussian_noise(NoiseOptions { generator: NoiseGenerator::ChaCha20, key: long, ..good }).unwrap();
}

/// Speed, on as many threads as there are: `cargo test --release --test it -- --ignored --nocapture noise_speed`.
#[test]
#[ignore = "a measurement"]
fn noise_speed() {
    let device = gristmill_cpu::open().unwrap();
    let n = 1 << 24;
    let y = device.tensor(vec![0f32; n], [n]).unwrap().copy().unwrap();
    for generator in NoiseGenerator::ALL {
        let run = || {
            let start = std::time::Instant::now();
            y.add_gaussian_noise(options(generator)).unwrap();
            y.narrow(0, 1).unwrap().read().unwrap();
            n as f64 / start.elapsed().as_secs_f64()
        };
        let best = (0..7).map(|_| run()).fold(0.0, f64::max);
        println!("{} {:.0} million normals a second", generator.name(), best / 1e6);
    }
}
