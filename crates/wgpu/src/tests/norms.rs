//! Norms of samples' gradients, beside the conformance table: which way they are found, and what is refused.

use gristmill_core::device::Support;
use gristmill_core::ops::{EmbeddingOptions, LinearSizes, NormsMethod, NormsOptions, PerSampleNorms};
use gristmill_core::rng::Philox;
use gristmill_core::{Code, DType, Device, Result, Tensor};

/// Numbers between -1 and 1.
fn numbers(stream: u64, n: usize) -> Vec<f32> {
    let sequence = Philox::new(11, stream);
    (0..n as u64).map(|g| sequence.bits(g) as i32 as f32 / 2f32.powi(31)).collect()
}

/// Forty samples of twelve rows, and one of two rows whose terms cancel: the inputs of the first are three times those of
/// the second, nearly, and the gradients of the second minus three times those of the first.
fn layer(device: &Device) -> Result<[Tensor; 3]> {
    let (rows, [d, p]) = (482, [3, 2]);
    let (mut x, mut dy) = (numbers(0, rows * d), numbers(1, rows * p));
    let (last, but_one) = ((rows - 1) * d, (rows - 2) * d);
    (0..d).for_each(|i| x[but_one + i] = 3.0 * x[last + i]);
    x[last] += 0.01;
    let (last, but_one) = ((rows - 1) * p, (rows - 2) * p);
    (0..p).for_each(|i| dy[last + i] = -3.0 * dy[but_one + i]);
    let ends: Vec<u32> = (0..=40).map(|sample| 12 * sample).chain([482]).collect();
    Ok([device.tensor(x, [rows, d])?, device.tensor(dy, [rows, p])?, device.tensor(ends, [42])?])
}

fn norms_of(device: &Device, method: NormsMethod) -> Vec<f32> {
    let [x, dy, offsets] = layer(device).unwrap();
    let options = NormsOptions { bias: false, method: Some(method) };
    x.per_sample_norms(&dy, &offsets, options).unwrap().to_vec::<f32>().unwrap()
}

#[test]
fn only_norms_whose_terms_cancel_are_made_of_gradients() {
    let Some(device) = super::open(true, None) else { return };
    let reference = gristmill_cpu::open_reference().unwrap();
    let [gram, direct] = [NormsMethod::Gram, NormsMethod::Direct].map(|method| norms_of(&device, method));
    for (got, want) in gram.iter().zip(norms_of(&reference, NormsMethod::Direct)) {
        assert!((got / want - 1.0).abs() < 1e-5, "{got} instead of {want}");
    }
    assert_eq!(gram[40].to_bits(), direct[40].to_bits());
    assert!(gram[..40].iter().zip(&direct).any(|(a, b)| a.to_bits() != b.to_bits()), "{gram:?}");
}

/// More rows than workgroups share the tiles of, more columns than are added up one after the other, and both in pieces
/// that bindings show.
#[test]
fn norms_of_many_rows_and_columns_are_those_of_the_gradient() {
    let reference = gristmill_cpu::open_reference().unwrap();
    for (window_bytes, rows, [d, p]) in
        [(None, 700, [160, 120]), (Some(64 << 10), 700, [160, 120]), (Some(64 << 10), 20, [600, 1100])]
    {
        let Some(device) = super::open(true, window_bytes) else { return };
        let norms = |device: &Device| {
            let x = device.tensor(numbers(0, rows * d), [rows, d]).unwrap();
            let dy = device.tensor(numbers(1, rows * p), [rows, p]).unwrap();
            let offsets = device.tensor(vec![0u32, rows as u32], [2]).unwrap();
            let options = NormsOptions { bias: true, method: Some(NormsMethod::Gram) };
            x.per_sample_norms(&dy, &offsets, options).unwrap().to_vec::<f32>().unwrap()
        };
        let (got, want) = (norms(&device), norms(&reference));
        assert!((got[0] / want[0] - 1.0).abs() < 1e-6, "{got:?} instead of {want:?}");
    }
}

#[test]
fn the_method_of_fewest_operations_is_there() {
    let Some(device) = super::open(true, None) else { return };
    let (rows, [d, p]) = (24, [40, 30]);
    assert_eq!(NormsMethod::fewest_operations(LinearSizes { rows, d, p, samples: 2 }), NormsMethod::Gram);
    let x = device.tensor(numbers(0, rows * d), [rows, d]).unwrap();
    let dy = device.tensor(numbers(1, rows * p), [rows, p]).unwrap();
    let offsets = device.tensor(vec![0u32, 9, 24], [3]).unwrap();
    let out = device.empty(DType::F32, [2]).unwrap();
    let (method, bias) = (NormsMethod::Gram, true);
    let op = PerSampleNorms { x: x.clone(), dy: dy.clone(), offsets: offsets.clone(), out, bias, method };
    assert_eq!(device.info().support(&op.into()), Support::Native);
    let norms = |method| {
        let options = NormsOptions { bias, method };
        x.per_sample_norms(&dy, &offsets, options).unwrap().to_vec::<f32>().unwrap()
    };
    assert_eq!(norms(None), norms(Some(NormsMethod::Gram)));
}

/// Rows of a table that one binding does not show are refused when the operation is asked for, not when it is run.
#[test]
fn gradients_of_tables_beyond_a_binding_are_refused() {
    let Some(device) = super::open(true, Some(64 << 10)) else { return };
    let d = 512;
    let fits = (64 << 10) / 4 / d - 1;
    for (rows, fine) in [(fits, true), (fits + 2, false)] {
        let dy = device.zeros(DType::F32, [rows, d]).unwrap();
        let ids = device.zeros(DType::U32, [rows]).unwrap();
        let offsets = device.tensor(vec![0u32, rows as u32], [2]).unwrap();
        let norms = ids.embedding_norms(&dy, &offsets, EmbeddingOptions { vocabulary: 7, padding_idx: None });
        let dlogits = device.zeros(DType::F32, [rows, 7]).unwrap();
        let tied = ids.tied_norms(&dy, &dy, &dlogits, &offsets);
        let (factors, grad) =
            (device.zeros(DType::F32, [1]).unwrap(), device.zeros(DType::F32, [7, d]).unwrap());
        let sums = ids.clipped_embedding_grad(&dy, &offsets, &factors, &grad, None);
        if fine {
            sums.unwrap();
            assert_eq!(grad.to_vec::<f32>().unwrap(), vec![0.0; 7 * d]);
            assert_eq!(norms.unwrap().to_vec::<f32>().unwrap(), [0.0]);
            assert_eq!(tied.unwrap().to_vec::<f32>().unwrap(), [0.0]);
            continue;
        }
        for (error, name) in [(norms.unwrap_err(), "dy"), (tied.unwrap_err(), "e"), (sums.unwrap_err(), "dy")]
        {
            assert_eq!(error.code(), Code::Unsupported);
            assert!(error.message().contains(&format!("{name} in {} words", rows * d)), "{error}");
        }
    }
}
