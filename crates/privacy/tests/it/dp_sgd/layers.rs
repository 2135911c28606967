//! Every layer equals the loop over single samples.

use gristmill_core::device::Support;
use gristmill_core::ops::{NormsMethod, Op, PerSampleNorms};
use gristmill_core::{DType, Device};
use gristmill_privacy::dp_sgd::{Clipping, DpSgd, Linear};

use super::oracle::{Case, Layer, Numbers};
use super::{Sums, clipped, devices, difference, flat, host, norm, options};

/// Ragged lengths with a sample that has no rows.
const LENGTHS: [usize; 6] = [3, 1, 0, 5, 2, 4];

/// The clipped sums are those of the loop, relative to the bound of one sample.
#[track_caller]
pub(super) fn same(got: &Sums, want: &Sums, bound: f64) {
    let far = norm(&difference(got, want));
    assert!(far <= 1e-4 * bound * 4.0, "{far:e} apart, of {}", norm(want));
}

#[test]
fn each_kind_of_layer_alone_and_all_together() {
    for device in devices() {
        let whole = Case::of(1, &LENGTHS);
        let names: Vec<&str> = whole.layers.iter().map(|(name, _)| *name).collect();
        let alone = names.iter().map(|name| whole.clone().only(name));
        for case in alone.chain([whole.clone()]) {
            // Once where most samples are clipped, and once where none is.
            for bound in [1.0, 1e4] {
                let clipping = Clipping::Flat { max_grad_norm: bound };
                let want = case.expected(&clipping);
                assert!(norm(&want) > 0.5);
                same(
                    &clipped(&device, &options(clipping), &case),
                    &want,
                    if bound > 1.0 { norm(&want) } else { 1.0 },
                );
            }
        }
    }
}

#[test]
fn halves_are_measured_and_summed_as_they_are() {
    for device in devices() {
        for dtype in [DType::Bf16, DType::F16] {
            let case = Case { dtype, ..Case::of(2, &LENGTHS) };
            same(&clipped(&device, &options(flat()), &case), &case.expected(&flat()), 1.0);
        }
    }
}

/// The ways in which a device measures linear layers.
fn methods(device: &Device) -> Vec<NormsMethod> {
    let has = |method: &NormsMethod| {
        let one = |shape: &[usize]| device.zeros(DType::F32, shape.to_vec()).unwrap();
        let (x, dy, out) = (one(&[1, 2]), one(&[1, 2]), one(&[1]));
        let offsets = device.tensor(vec![0_u32, 1], [2]).unwrap();
        let op = PerSampleNorms { x, dy, offsets, out, bias: false, method: *method };
        device.info().support(&Op::from(op)) == Support::Native
    };
    let found: Vec<_> = NormsMethod::ALL.into_iter().filter(has).collect();
    assert_eq!(found, NormsMethod::ALL);
    found
}

#[test]
fn both_ways_to_measure_a_linear_layer_agree() {
    for device in devices() {
        for method in methods(&device) {
            let case = Case { method: Some(method), ..Case::of(3, &[9, 70, 33]) }.only("a.up");
            same(&clipped(&device, &options(flat()), &case), &case.expected(&flat()), 1.0);
        }
    }
}

/// Rows of samples of equal length need no offsets.
#[test]
fn samples_of_equal_length_are_the_first_dimension() {
    for device in devices() {
        let case = Case::of(4, &[5, 5, 5]).only("a.up");
        let want = clipped(&device, &options(flat()), &case);
        let Layer::Linear { x, dy, .. } = &case.layers[0].1 else { panic!("no linear layer") };
        let record = |samples: usize| {
            let mut dp = DpSgd::new(&device, options(flat())).unwrap();
            let x = device.tensor(x[..samples * 35].to_vec(), [samples, 5, 7]).unwrap();
            let dy = device.tensor(dy[..samples * 25].to_vec(), [samples, 5, 5]).unwrap();
            dp.linear("a.up", Linear { x, dy, bias: true, offsets: None, method: None }).unwrap();
            host(&dp.step().unwrap())
        };
        assert_eq!(difference(&record(3), &record(0)), want);
    }
}

/// A sample that is one row each, as outside of sequences.
#[test]
fn single_rows_are_samples() {
    for device in devices() {
        let case = Case::of(5, &[1; 7]);
        same(&clipped(&device, &options(flat()), &case), &case.expected(&flat()), 1.0);
    }
}

#[test]
fn padding_adds_nothing_whatever_is_in_it() {
    for device in devices() {
        let mut case = Case::of(6, &LENGTHS);
        case.weights = Some(vec![1.0, 0.0, 1.0, 1.0, 0.0, 1.0]);
        same(&clipped(&device, &options(flat()), &case), &case.expected(&flat()), 1.0);
        let nobody = Case { weights: Some(vec![0.0; 6]), ..case.clone() };
        assert_eq!(norm(&clipped(&device, &options(flat()), &nobody)), 0.0);
        poison(&mut case, 3, f32::NAN);
        poison(&mut case, 4, f32::INFINITY);
        let without = case.without(4).without(1);
        let mut weightless = without.clone();
        weightless.weights = None;
        same(&clipped(&device, &options(flat()), &case), &weightless.expected(&flat()), 1.0);
    }
}

/// Puts a number into the first layer, at this row.
fn poison(case: &mut Case, row: usize, value: f32) {
    let Layer::Linear { x, d, .. } = &mut case.layers[0].1 else { panic!("no linear layer") };
    x[row * *d] = value;
}

#[test]
fn a_sample_that_is_not_finite_in_one_layer_is_left_out_of_all_and_counted() {
    for device in devices() {
        // The fourth sample has the rows 4 to 8.
        for (value, dtype) in [(f32::NAN, DType::F32), (f32::NEG_INFINITY, DType::F32), (1e5, DType::F16)] {
            let mut case = Case { dtype, ..Case::of(7, &LENGTHS) };
            poison(&mut case, 5, value);
            let want = case.expected(&flat());
            same(&clipped(&device, &options(flat()), &case), &want, 1.0);
            same(&want, &case.without(3).expected(&flat()), 1e-9);
            let mut dp = DpSgd::new(&device, options(flat())).unwrap();
            case.record(&mut dp, &device);
            dp.step().unwrap();
            let counts = dp.private_counts().unwrap();
            assert_eq!((counts.samples, counts.non_finite), (5, 1), "{value} {dtype}");
        }
    }
}

/// Rows that have much in common: what is left of their norms must not be too small.
#[test]
fn large_numbers_that_cancel_do_not_lower_a_norm() {
    for device in devices() {
        let mut numbers = Numbers(8);
        let rows = 300;
        let x = (0..rows * 16).map(|_| 100.0 + 0.01 * numbers.next()).collect();
        let mut dy = numbers.many(rows * 12);
        for j in 0..12 {
            // In the middle of the tokens.
            let mean = (0..rows).map(|t| dy[t * 12 + j]).sum::<f32>() / rows as f32;
            (0..rows).for_each(|t| dy[t * 12 + j] -= mean);
        }
        let layer = Layer::Linear { d: 16, p: 12, bias: false, x, dy };
        for method in methods(&device) {
            let case = Case {
                lengths: vec![rows],
                weights: None,
                layers: vec![("up", layer.clone())],
                dtype: DType::F32,
                method: Some(method),
            };
            let sum = norm(&clipped(&device, &options(Clipping::Flat { max_grad_norm: 0.01 }), &case));
            assert!(sum <= 0.01 && sum > 0.00999, "{method:?}: {sum}");
        }
    }
}

/// Where the gradients of embedding and head cancel, and where they add up.
#[test]
fn a_tied_table_has_one_gradient() {
    for device in devices() {
        for sign in [1.0_f32, -1.0] {
            // One token that is looked up and predicted: its row gets dlogits · h from the head, and dy.
            let h = vec![0.6_f32, -0.3, 0.9];
            let mut dlogits = vec![0.0_f32; 5];
            dlogits[2] = 2.0;
            let dy: Vec<f32> = h.iter().map(|x| sign * 2.0 * x * 0.999).collect();
            let layer = Layer::Tied { v: 5, d: 3, bias: false, ids: vec![2], dy, h, dlogits };
            let case = Case {
                lengths: vec![1],
                weights: None,
                layers: vec![("wte", layer)],
                dtype: DType::F32,
                method: None,
            };
            let true_norm = norm(&case.gradient(0));
            let sum = norm(&clipped(&device, &options(Clipping::Flat { max_grad_norm: 1e-3 }), &case));
            assert!(sum <= 1e-3, "{sign}: {sum}");
            let apart = if sign > 0.0 { 4.0 } else { 0.003 };
            assert!((true_norm / apart - 1.0).abs() < 0.3, "{sign}: {true_norm}");
            if sign > 0.0 {
                assert!(sum > 0.999e-3, "{sum}");
            }
        }
    }
}
