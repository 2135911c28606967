//! What is refused, with its name, and leaves no trace.

use std::collections::BTreeMap;

use gristmill_core::ops::Fill;
use gristmill_core::{Code, DType, Device, Error, Tensor};
use gristmill_privacy::dp_sgd::{
    Batch, Clipping, DpSgd, DpSgdOptions, Embedding, LayerGroup, LayerNorms, Linear, NoiseSource, Norm,
};

use super::{flat, options};

fn ones(device: &Device, shape: &[usize]) -> Tensor {
    device.tensor(vec![1.0_f32; shape.iter().product()], shape.to_vec()).unwrap()
}

fn linear(device: &Device, samples: usize, d: usize, p: usize) -> Linear {
    let (x, dy) = (ones(device, &[samples, d]), ones(device, &[samples, p]));
    Linear { x, dy, bias: false, offsets: None, method: None }
}

fn told(error: &Error) -> (Code, Option<&str>, Option<&str>) {
    (error.code(), error.location().path.as_deref(), error.location().column.as_deref())
}

#[test]
fn options_that_bound_nothing_are_refused_by_name() {
    let device = gristmill_cpu::open().unwrap();
    let good = options(flat());
    let with = |clipping| DpSgdOptions { clipping, ..good.clone() };
    let group = |layers: &[&str], max_grad_norm| LayerGroup {
        layers: layers.iter().map(|&l| l.into()).collect(),
        max_grad_norm,
    };
    let groups = |groups: &[(&str, LayerGroup)]| Clipping::PerGroup {
        groups: groups.iter().map(|(name, group)| ((*name).into(), group.clone())).collect(),
    };
    let adaptive = |quantile, learning_rate, count_noise| Clipping::Adaptive {
        max_grad_norm: 1.0,
        quantile,
        learning_rate,
        count_noise,
    };
    let per_layer = |max_grad_norm| Clipping::PerLayer { max_grad_norm, eager: true };
    for (options, option) in [
        (DpSgdOptions { noise_multiplier: 0.0, ..good.clone() }, "noiseMultiplier"),
        (DpSgdOptions { noise_multiplier: f64::NAN, ..good.clone() }, "noiseMultiplier"),
        (DpSgdOptions { sample_rate: 1.5, ..good.clone() }, "sampleRate"),
        (DpSgdOptions { sample_rate: -0.1, ..good.clone() }, "sampleRate"),
        (DpSgdOptions { expected_batch_size: 0.0, ..good.clone() }, "expectedBatchSize"),
        (DpSgdOptions { seed: None, ..good.clone() }, "seed"),
        (DpSgdOptions { rng: NoiseSource::Secure, ..good.clone() }, "seed"),
        (DpSgdOptions { rng: NoiseSource::Discrete, ..good.clone() }, "seed"),
        (DpSgdOptions { layers: Some([].into()), ..good.clone() }, "layers"),
        (with(Clipping::Flat { max_grad_norm: -1.0 }), "maxGradNorm"),
        (with(Clipping::Flat { max_grad_norm: f64::INFINITY }), "maxGradNorm"),
        (with(Clipping::Threshold { max_grad_norm: 0.0 }), "maxGradNorm"),
        (with(Clipping::Automatic { max_grad_norm: 1.0, gamma: 0.0 }), "gamma"),
        (with(per_layer(LayerNorms::Together(f64::NAN))), "maxGradNorm"),
        (with(per_layer(LayerNorms::Each(BTreeMap::new()))), "maxGradNorm"),
        (with(groups(&[])), "groups"),
        (with(groups(&[("a", group(&[], 1.0))])), "groups"),
        (with(groups(&[("a", group(&["x"], 1.0)), ("b", group(&["x"], 1.0))])), "groups"),
        (with(groups(&[("a", group(&["x"], 0.0))])), "maxGradNorm"),
        (
            DpSgdOptions { layers: Some(["y".into()].into()), ..with(groups(&[("a", group(&["x"], 1.0))])) },
            "layers",
        ),
        (with(adaptive(1.5, 0.2, None)), "quantile"),
        (with(adaptive(0.5, 0.0, None)), "learningRate"),
        (DpSgdOptions { noise_multiplier: 1.0, ..with(adaptive(0.5, 0.2, Some(0.5))) }, "countNoise"),
        (DpSgdOptions { rng: NoiseSource::Discrete, seed: None, ..with(adaptive(0.5, 0.2, None)) }, "rng"),
    ] {
        let error = DpSgd::new(&device, options).unwrap_err();
        assert_eq!(
            (error.code(), error.location().column.as_deref()),
            (Code::InvalidArgument, Some(option)),
            "{error}"
        );
    }
}

#[test]
fn layers_are_recorded_once_and_all_of_them() {
    let device = gristmill_cpu::open().unwrap();
    let mut dp = DpSgd::new(&device, options(flat())).unwrap();
    dp.linear("a", linear(&device, 2, 3, 4)).unwrap();
    let twice = dp.linear("a", linear(&device, 2, 3, 4)).unwrap_err();
    assert_eq!(told(&twice), (Code::InvalidArgument, Some("a"), None));
    assert!(twice.hint_text().is_some_and(|hint| hint.contains("tied")));
    dp.linear("b", linear(&device, 2, 5, 6)).unwrap();
    dp.step().unwrap();
    // From here on the layers of the run are known.
    let stranger = dp.linear("c", linear(&device, 2, 3, 4)).unwrap_err();
    assert_eq!(told(&stranger), (Code::InvalidArgument, Some("c"), None));
    dp.linear("a", linear(&device, 2, 3, 4)).unwrap();
    for end in [DpSgd::accumulate, |dp: &mut DpSgd| dp.step().map(|_| ())] {
        assert_eq!(told(&end(&mut dp).unwrap_err()), (Code::InvalidArgument, Some("b"), Some("step")));
    }
    assert_eq!(dp.steps(), 1);
    // What was refused left no trace.
    dp.linear("b", linear(&device, 2, 5, 6)).unwrap();
    dp.step().unwrap();
    assert_eq!(dp.steps(), 2);
    // Declared ones are known from the start.
    let declared = DpSgdOptions { layers: Some(["a".into(), "b".into()].into()), ..options(flat()) };
    let mut dp = DpSgd::new(&device, declared).unwrap();
    assert_eq!(told(&dp.linear("c", linear(&device, 2, 3, 4)).unwrap_err()).1, Some("c"));
    dp.linear("a", linear(&device, 2, 3, 4)).unwrap();
    assert_eq!(told(&dp.step().unwrap_err()).1, Some("b"));
}

#[test]
fn a_step_is_used_once() {
    let device = gristmill_cpu::open().unwrap();
    let mut dp = DpSgd::new(&device, options(flat())).unwrap();
    for refused in [dp.step().map(|_| ()), dp.empty_step().map(|_| ()), dp.accumulate()] {
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    }
    dp.linear("a", linear(&device, 2, 3, 4)).unwrap();
    assert_eq!(dp.empty_step().unwrap_err().code(), Code::InvalidArgument);
    dp.accumulate().unwrap();
    assert_eq!(dp.empty_step().unwrap_err().code(), Code::InvalidArgument);
    dp.step().unwrap();
    let again = dp.step().unwrap_err();
    assert!(again.message().contains("once"), "{again}");
    assert_eq!((dp.steps(), dp.accountant().steps()), (1, 1));
    dp.empty_step().unwrap();
    dp.batch(Batch::default()).unwrap();
    assert_eq!(dp.step().unwrap_err().location().path.as_deref(), Some("a"));
}

#[test]
fn what_does_not_fit_is_refused_by_layer_and_argument() {
    let device = gristmill_cpu::open().unwrap();
    let elsewhere = gristmill_cpu::open().unwrap();
    let mut dp = DpSgd::new(&device, options(flat())).unwrap();
    let refuse = |dp: &mut DpSgd, layer: Linear, code, column: Option<&str>| {
        let error = dp.linear("a", layer).unwrap_err();
        assert_eq!(told(&error), (code, Some("a"), column), "{error}");
    };
    let good = linear(&device, 2, 3, 4);
    let x = |x: Tensor| Linear { x, ..good.clone() };
    refuse(&mut dp, linear(&elsewhere, 2, 3, 4), Code::DeviceMismatch, Some("x"));
    refuse(
        &mut dp,
        Linear { dy: ones(&elsewhere, &[2, 4]), ..good.clone() },
        Code::DeviceMismatch,
        Some("dy"),
    );
    refuse(&mut dp, x(ones(&device, &[3, 3])), Code::ShapeMismatch, Some("dy"));
    refuse(&mut dp, x(ones(&device, &[2])), Code::ShapeMismatch, Some("x"));
    refuse(&mut dp, x(good.x.cast(DType::Bf16).unwrap()), Code::DtypeMismatch, Some("dy"));
    refuse(&mut dp, x(device.zeros(DType::I32, [2, 3]).unwrap()), Code::DtypeMismatch, Some("x"));
    let offsets = Some(device.zeros(DType::F32, [3]).unwrap());
    refuse(&mut dp, Linear { offsets, ..good.clone() }, Code::DtypeMismatch, Some("offsets"));
    let offsets = Some(device.tensor(vec![0_u32, 2], [1, 2]).unwrap());
    refuse(&mut dp, Linear { offsets, ..good.clone() }, Code::ShapeMismatch, Some("offsets"));
    dp.linear("a", good.clone()).unwrap();
    // The second layer has other samples.
    let error = dp.linear("b", linear(&device, 3, 3, 4)).unwrap_err();
    assert_eq!(told(&error), (Code::ShapeMismatch, Some("b"), None));
    assert_eq!(told(&dp.batch(Batch::default()).unwrap_err()).2, Some("batch"));
    dp.step().unwrap();
    // A layer has the shape that it had.
    refuse(&mut dp, linear(&device, 2, 4, 4), Code::ShapeMismatch, None);
    refuse(&mut dp, Linear { bias: true, ..good.clone() }, Code::ShapeMismatch, None);
    let weights = Some(ones(&device, &[3]));
    dp.batch(Batch { offsets: None, weights }).unwrap();
    refuse(&mut dp, good, Code::ShapeMismatch, None);

    let mut dp = DpSgd::new(&device, options(flat())).unwrap();
    let ids = device.tensor(vec![1_u32, 2], [2]).unwrap();
    let table = |vocabulary| Embedding {
        ids: ids.clone(),
        dy: ones(&device, &[2, 3]),
        vocabulary,
        padding_idx: None,
        offsets: None,
    };
    let error = dp.embedding("wte", table(None)).unwrap_err();
    assert_eq!(told(&error), (Code::InvalidArgument, Some("wte"), Some("vocabulary")));
    let short = Embedding { ids: ids.narrow(0, 1).unwrap(), ..table(Some(5)) };
    assert_eq!(
        told(&dp.embedding("wte", short).unwrap_err()),
        (Code::ShapeMismatch, Some("wte"), Some("ids"))
    );
    dp.embedding("wte", table(Some(5))).unwrap();
    let norm = Norm { xhat: ones(&device, &[2, 3]), dy: ones(&device, &[2, 4]), bias: false, offsets: None };
    assert_eq!(told(&dp.norm("ln", norm).unwrap_err()), (Code::ShapeMismatch, Some("ln"), Some("dy")));
    dp.step().unwrap();
    // Afterwards the size of the table is known.
    dp.embedding("wte", table(None)).unwrap();
    dp.step().unwrap();
}

#[test]
fn what_was_measured_is_what_is_summed_or_nothing_is() {
    let device = gristmill_cpu::open().unwrap();
    for which in ["x", "dy"] {
        let mut dp = DpSgd::new(&device, options(flat())).unwrap();
        let layer = linear(&device, 2, 3, 4);
        let written = if which == "x" { layer.x.clone() } else { layer.dy.clone() };
        dp.linear("a", layer).unwrap();
        device.run(Fill { out: written, value: 1e6 }).unwrap();
        let error = dp.step().unwrap_err();
        assert_eq!(told(&error), (Code::InvalidValue, Some("a"), Some(which)));
        assert_eq!(dp.accountant().steps(), 0);
    }
}

/// What only the device sees is told where gradients are read; the step has been counted.
#[test]
fn faults_of_data_spoil_the_gradients() {
    let device = gristmill_cpu::open().unwrap();
    let offsets = |values: [u32; 3]| Some(device.tensor(values.to_vec(), [3]).unwrap());
    let weights = |values: [f32; 2]| Some(device.tensor(values.to_vec(), [2]).unwrap());
    for batch in [
        Batch { offsets: offsets([0, 2, 1]), weights: None },
        Batch { offsets: offsets([0, 1, 9]), weights: None },
        Batch { offsets: None, weights: weights([1.0, 0.5]) },
        Batch { offsets: None, weights: weights([1.0, f32::NAN]) },
    ] {
        let mut dp = DpSgd::new(&device, options(flat())).unwrap();
        dp.batch(batch.clone()).unwrap();
        dp.linear("a", linear(&device, 2, 3, 4)).unwrap();
        let gradients = dp.step().unwrap();
        assert_eq!(gradients["a"].weight.read().unwrap_err().code(), Code::InvalidValue, "{batch:?}");
        assert_eq!(dp.accountant().steps(), 1);
    }
}
