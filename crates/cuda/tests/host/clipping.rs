//! Whatever a sample is, it changes a clipped sum by no more than the bound.

use gristmill_core::ops::{ClipLinearOptions, ClipPath, ClipRule};
use gristmill_core::{Device, Tensor};

use crate::driver::{Options, open};

const BOUND: f32 = 0.7;
const INPUTS: usize = 20;
const OUTPUTS: usize = 12;

/// What becomes of the number at a place.
type Change<'a> = &'a dyn Fn(usize, f32) -> f32;

/// Numbers from -0.5 to 0.5.
fn numbers(seed: u32, n: usize) -> Vec<f32> {
    let number = |i: u32| {
        let x = (i ^ seed << 20).wrapping_mul(2_654_435_761).wrapping_add(974_711);
        let x = (x ^ x >> 15).wrapping_mul(2_246_822_519);
        (x >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..n as u32).map(number).collect()
}

/// The sum of the clipped gradients of these samples, of weight and bias.
fn clipped(device: &Device, samples: &[[Vec<f32>; 2]], path: ClipPath) -> Vec<f64> {
    let mut offsets = vec![0u32];
    for [x, _] in samples {
        offsets.push(offsets[offsets.len() - 1] + (x.len() / INPUTS) as u32);
    }
    let rows = offsets[samples.len()] as usize;
    let [x, dy]: [Vec<f32>; 2] = [0, 1].map(|part| samples.iter().flat_map(|s| s[part].clone()).collect());
    let x = device.tensor(x, [rows, INPUTS]).unwrap();
    let dy = device.tensor(dy, [rows, OUTPUTS]).unwrap();
    let offsets = device.tensor(offsets, [samples.len() + 1]).unwrap();
    let zeros = |shape: &[usize]| device.zeros(gristmill_core::DType::F32, shape.to_vec()).unwrap();
    let (grad, bias) = (zeros(&[OUTPUTS, INPUTS]), zeros(&[OUTPUTS]));
    let options = ClipLinearOptions {
        bias: Some(bias.clone()),
        weights: None,
        max_norm: BOUND,
        rule: ClipRule::Flat,
        path: Some(path),
    };
    let out = x.clip_linear_fused(&dy, &offsets, &grad, options).unwrap();
    assert_eq!(out.path, path);
    let host = |t: &Tensor| t.to_vec::<f32>().unwrap().into_iter().map(f64::from).collect::<Vec<_>>();
    [host(&grad), host(&bias)].concat()
}

#[test]
fn one_sample_more_changes_a_sum_by_no_more_than_the_bound() {
    let Some(device) = open(Options::default()) else { return };
    let sample = |seed: u32, rows: usize, change: Change<'_>| {
        [(0, INPUTS), (1, OUTPUTS)].map(|(part, width)| {
            let of_part = numbers(2 * seed + part, rows * width).into_iter().enumerate();
            of_part.map(|(i, x)| change(i, x)).collect::<Vec<f32>>()
        })
    };
    let ordinary: Vec<_> =
        (1..6).map(|i| sample(i, 3 + 7 * i as usize, &|_: usize, x: f32| 0.2 * x)).collect();
    let changes: [(&str, Change<'_>); 8] = [
        ("tiny", &|_, x| 1e-6 * x),
        ("large", &|_, x| 1e6 * x),
        ("common and large", &|_, x| 1e3 + 1e-3 * x),
        ("signs that cancel", &|i, x| if i.is_multiple_of(2) { 1e4 + x } else { x - 1e4 }),
        ("zeros", &|_, _| 0.0),
        ("not a number", &|i, x| if i == 5 { f32::NAN } else { x }),
        ("infinite", &|i, x| if i == 5 { f32::INFINITY } else { x }),
        ("all but infinite", &|_, _| f32::MAX),
    ];
    for (name, change) in changes {
        for rows in [1, 9, 150] {
            for path in ClipPath::ALL {
                let without = clipped(&device, &ordinary, path);
                let with = [ordinary.clone(), vec![sample(9, rows, change)]].concat();
                let difference = clipped(&device, &with, path).into_iter().zip(without);
                let moved = difference.map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
                assert!(moved <= f64::from(BOUND) * (1.0 + 1e-5), "{name}, {rows}, {}: {moved}", path.name());
            }
        }
    }
}
