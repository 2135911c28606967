//! The cases of what DP-SGD does with gradients that are no matrix products, nor noise.

use gristmill_core::ops::{
    ClipFactors, ClipRule, ClippedEmbeddingGrad, ClippedSum, Draw, EmbeddingNorms, GridSum, SegmentProduct,
    TiedNorms,
};
use gristmill_core::{DType, Device, Result, Tensor};

use super::cases::{BenchCase, Bind, Sizes, case, documents, normal, targets};

/// Rows of a sample.
const LENGTH: usize = 256;

pub(super) fn samples(s: &Sizes) -> Vec<BenchCase> {
    let (columns, vocab) = (s.square / 2, s.vocab);
    let rows = (s.n / columns).max(2 * LENGTH);
    let (few, layers) = (32, 64);
    let (n, per_layer) = (s.n / few, (s.n / layers).max(1));
    let half = |device: &Device, samples: usize| device.tensor(vec![0.5f32; samples], [samples]);
    let table = move |device: &Device| -> Result<[Tensor; 3]> {
        let dy = normal(device, DType::F32, &[rows, columns])?;
        Ok([targets(device, rows, vocab)?, dy, documents(device, rows, LENGTH)?])
    };
    let of_rows = format!("{rows}x{columns}/f32");
    vec![
        case("clip_factors", format!("{layers}x{per_layer}"), Bind::Copy, move |device| {
            let shape = [layers, per_layer];
            Ok(ClipFactors {
                squared: device.philox(shape, Draw::Uniform, 1, 1, 0)?,
                weights: None,
                max_norms: half(device, layers)?,
                factors: device.empty(DType::F32, shape)?,
                counts: device.empty(DType::U32, [layers, 3])?,
                rule: ClipRule::Flat,
            })
        }),
        case("segment_product", &of_rows, Bind::Read, move |device| {
            let [_, a, offsets] = table(device)?;
            let out = device.empty(DType::F32, [offsets.len() - 1, columns])?;
            Ok(SegmentProduct { b: Some(a.copy()?), a, offsets, out })
        }),
        case("clipped_sum", format!("{few}x{n}"), Bind::Read, move |device| {
            let rows = normal(device, DType::F32, &[few, n])?;
            Ok(ClippedSum { rows, factors: half(device, few)?, out: device.zeros(DType::F32, [n])? })
        }),
        case("embedding_norms", &of_rows, Bind::Read, move |device| {
            let [ids, dy, offsets] = table(device)?;
            let out = device.empty(DType::F32, [offsets.len() - 1])?;
            Ok(EmbeddingNorms { ids, dy, offsets, out, vocabulary: vocab, padding_idx: None })
        }),
        case("clipped_embedding_grad", &of_rows, Bind::Copy, move |device| {
            let [ids, dy, offsets] = table(device)?;
            let factors = half(device, offsets.len() - 1)?;
            let grad = device.zeros(DType::F32, [vocab, columns])?;
            Ok(ClippedEmbeddingGrad { ids, dy, offsets, factors, grad, padding_idx: None })
        }),
        case(
            "tied_norms",
            format!("{LENGTH}x{columns}x{vocab}/f32"),
            Bind::Matmul(DType::F32),
            move |device| {
                let rows = |columns: usize| normal(device, DType::F32, &[LENGTH, columns]);
                let (e, h, dlogits) = (rows(columns)?, rows(columns)?, rows(vocab)?);
                let offsets = documents(device, LENGTH, LENGTH)?;
                let out = device.empty(DType::F32, [offsets.len() - 1])?;
                Ok(TiedNorms { ids: targets(device, LENGTH, vocab)?, e, h, dlogits, offsets, out })
            },
        ),
        case("grid_sum", format!("{few}x{n}"), Bind::Read, move |device| {
            let rows = normal(device, DType::F32, &[few, n])?;
            let sums = device.zeros(DType::U32, [n, 2])?;
            Ok(GridSum { rows, factors: half(device, few)?, sums, exponent: -24 })
        }),
    ]
}
