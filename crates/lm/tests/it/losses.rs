//! The transformer on devices: against transformers' losses, and against itself in other company.

use std::sync::Arc;

use gristmill_core::device::{Backend, Buffer, Buffers, DeviceInfo, Fault};
use gristmill_core::ops::Op;
use gristmill_core::{Code, Control, DType, Device, Error, Result};
use gristmill_lm::windows::{Plan, Window};
use gristmill_lm::{Checkpoint, LanguageModel, LoadOptions, Tokens, Transformer};
use serde_json::Value;

use crate::smollm2::{expected, smollm2};
use crate::tiny::{Expected, MODELS, folder};

fn cpu() -> Device {
    gristmill_cpu::open().unwrap()
}

/// Losses of whole sequences, all in one batch.
fn losses(model: &Transformer, sequences: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
    let windows: Vec<Tokens> = sequences.iter().map(|ids| Tokens { ids, first: 1 }).collect();
    let batch = gristmill_lm::Batch::new(model.device(), &windows)?;
    let all: Vec<f32> = model.losses(&batch)?.to_vec()?;
    let mut rest = &all[..];
    Ok(windows
        .iter()
        .map(|w| {
            let (own, after) = rest.split_at(w.targets());
            rest = after;
            own.to_vec()
        })
        .collect())
}

/// The worst and the mean error of a family's losses.
fn errors(device: &Device, dtype: DType, name: &str) -> (f64, f64) {
    let checkpoint = Checkpoint::open(folder(name)).unwrap();
    let expected = Expected::read(name);
    let longest = expected.sequences.iter().map(Vec::len).max().unwrap_or(1);
    let model = Transformer::load(&checkpoint, device, dtype, longest).unwrap();
    let got = losses(&model, &expected.sequences).unwrap();
    let pairs = got.iter().flatten().zip(expected.nll.iter().flatten());
    let errors: Vec<f64> = pairs.map(|(got, want)| (f64::from(*got) - want).abs()).collect();
    assert_eq!(errors.len(), expected.nll.iter().flatten().count(), "{name}");
    (errors.iter().copied().fold(0.0, f64::max), errors.iter().sum::<f64>() / errors.len() as f64)
}

/// Every family in f32 within 1e-4 nats of each loss.
fn check_f32(device: &Device) {
    for name in MODELS {
        let (worst, _) = errors(device, DType::F32, name);
        assert!(worst < 1e-4, "{name} on {device:?}: off by {worst:.1e}");
    }
}

#[test]
fn every_family_on_the_processor() {
    check_f32(&cpu());
    check_f32(&gristmill_cpu::open_reference().unwrap());
}

#[test]
fn every_family_on_an_adapter() {
    let Some(device) = adapter() else { return };
    check_f32(&device);
    device.close();
}

/// An adapter for Vulkan, Metal or Direct3D 12, or `None` with the reason on stderr.
///
/// # Panics
/// When there is none, and `$GRISTMILL_REQUIRE`, a list separated by commas, has `wgpu` in it.
fn adapter() -> Option<Device> {
    let adapters = gristmill_wgpu::probe();
    if let Some(usable) = adapters.iter().find(|a| a.unusable.is_none()) {
        return Some(gristmill_wgpu::open(usable.index, gristmill_wgpu::Options::default()).unwrap());
    }
    let required = std::env::var("GRISTMILL_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|name| name.trim() == "wgpu"), "no usable adapter among {adapters:?}");
    eprintln!(
        "skipped: no adapter for Vulkan, Metal or Direct3D 12 (Debian: apt install mesa-vulkan-drivers)"
    );
    None
}

/// Every family in bf16 within 2e-2 nats of each loss in f32, and nearer on average than transformers in bf16.
#[test]
fn every_family_in_bf16() {
    for name in MODELS {
        let theirs = Expected::read(name).bf16_mean_error;
        let (worst, mean) = errors(&cpu(), DType::Bf16, name);
        assert!(
            worst < 2e-2 && mean < 1.1 * theirs,
            "{name}: off by {worst:.1e}, {mean:.1e}, they {theirs:.1e}"
        );
    }
}

/// The same document has the same bits whatever else is in its batch, and wherever in it.
#[test]
fn losses_do_not_depend_on_company() {
    for (name, dtype) in [("llama", DType::F32), ("gpt2", DType::F32), ("qwen3", DType::Bf16)] {
        let checkpoint = Checkpoint::open(folder(name)).unwrap();
        let vocab = checkpoint.config().vocab as u32;
        let document = |d: u32, len: u32| (0..len).map(|i| (i * 37 + d * 11) % vocab).collect::<Vec<u32>>();
        let lengths = [2, 64, 3, 17, 33, 5, 48];
        let documents: Vec<_> = lengths.into_iter().zip(0..).map(|(len, d)| document(d, len)).collect();
        let model = Transformer::load(&checkpoint, &cpu(), dtype, 64).unwrap();
        let together = losses(&model, &documents).unwrap();
        let reversed: Vec<_> = documents.iter().rev().cloned().collect();
        let mut reversed = losses(&model, &reversed).unwrap();
        reversed.reverse();
        let bits = |all: &[Vec<f32>]| all.iter().flatten().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&together), bits(&reversed), "{name}");
        for (document, together) in documents.into_iter().zip(together) {
            let alone = losses(&model, &[document]).unwrap();
            assert_eq!(bits(&alone), bits(&[together]), "{name}");
        }
    }
}

/// A processor that has no piece of memory of more than so many bytes.
struct Cramped {
    cpu: gristmill_cpu::Cpu,
    most: usize,
}

impl Backend for Cramped {
    fn info(&self) -> Arc<DeviceInfo> {
        self.cpu.info()
    }

    fn alloc(&mut self, bytes: usize) -> Result<Buffer> {
        match bytes > self.most {
            true => Err(Error::new(Code::OutOfMemory, format!("no {bytes} bytes"))),
            false => self.cpu.alloc(bytes),
        }
    }

    fn write(&mut self, dst: &Buffer, offset: usize, src: &[u8]) -> Result<()> {
        self.cpu.write(dst, offset, src)
    }

    fn read(&mut self, src: &Buffer, offset: usize, dst: &mut [u8]) -> Result<()> {
        self.cpu.read(src, offset, dst)
    }

    fn run(&mut self, serial: u64, op: &Op, buffers: &Buffers) -> Result<()> {
        self.cpu.run(serial, op, buffers)
    }

    fn finish(&mut self) -> Result<Vec<Fault>> {
        self.cpu.finish()
    }
}

/// A folder with a small model of this family and a tokenizer, as [`LanguageModel`] wants one.
fn with_tokenizer(family: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder(family)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let tokenizer = serde_json::json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "post_processor": null, "decoder": null,
        "truncation": null, "padding": null, "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"},
    });
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    dir
}

/// Batches become half as large until they fit, and the losses have the bits that they have where there is room, also
/// when two models read the same batches.
#[test]
fn without_memory_batches_become_smaller() {
    let dirs = [with_tokenizer("llama"), with_tokenizer("qwen2")];
    let load = |device: &Device, dir: &tempfile::TempDir| {
        let options = LoadOptions { longest: Some(64), batch_tokens: Some(1024), ..LoadOptions::default() };
        LanguageModel::load(dir.path(), device, options).unwrap()
    };
    let documents: Vec<Vec<u32>> =
        (0..60).map(|d| (0..5 + d % 60).map(|i| (i * 37 + d * 11) % 199).collect()).collect();
    let windows: Vec<Tokens> = documents.iter().map(|ids| Tokens { ids, first: 1 }).collect();
    let roomy = dirs.each_ref().map(|dir| load(&cpu(), dir));
    let want = roomy.each_ref().map(|model| model.losses(&windows, &Control::default()).unwrap());
    // Enough for every weight, and not for the hidden states of a whole batch.
    let most = 40_000;
    let cramped_backend = move || Ok(Box::new(Cramped { cpu: gristmill_cpu::Cpu::new(), most }) as _);
    let device = Device::open(cramped_backend).unwrap();
    let cramped = dirs.each_ref().map(|dir| load(&device, dir));
    let got = LanguageModel::losses_of(&cramped.each_ref(), &windows, &Control::default()).unwrap();
    assert!(got == want, "the losses are others");
    assert!(cramped.iter().all(|m| m.batch_tokens() < 1024), "batches were not halved");

    let foreign = LanguageModel::losses_of(&[&roomy[0], &cramped[0]], &windows, &Control::default());
    assert_eq!(foreign.unwrap_err().code(), Code::DeviceMismatch);
}

#[test]
fn smollm2_has_the_losses_of_transformers() {
    let Some(file) = smollm2() else { return };
    let expected = expected();
    let options = LoadOptions { longest: Some(4096), ..LoadOptions::default() };
    let model = LanguageModel::load(file, &cpu(), options).unwrap();
    assert_eq!(model.transformer().dtype(), DType::F32);
    for (name, fixture) in expected["texts"].as_object().unwrap() {
        let Some(text) = crate::smollm2::text(name) else { continue };
        let ids = model.tokenizer().encode(&text).unwrap();
        assert!(ids.len() > 2000);
        let got = model.losses(&[Tokens { ids: &ids, first: 1 }], &Control::default()).unwrap();
        let want: Vec<f64> = serde_json::from_value(fixture["nll"].clone()).unwrap();
        assert_eq!(got[0].len(), want.len());
        let errors = got[0].iter().zip(&want).map(|(got, want)| (f64::from(*got) - want).abs());
        let (worst, sum) = errors.fold((0.0, 0.0), |(worst, sum): (f64, f64), e| (worst.max(e), sum + e));
        let mean = sum / want.len() as f64;
        assert!(worst < 1e-3 && mean < 1e-4, "{name}: at most {worst:.1e}, mean {mean:.1e}");
        if name == "prose" {
            definitions(
                &model,
                &ids,
                fixture,
                [&expected["window"], &expected["stride"], &expected["prefix"]],
            );
        }
    }
}

/// The Hugging Face recipe and the rolling log-likelihood of lm-eval, as Python computed them.
fn definitions(model: &LanguageModel, ids: &[u32], fixture: &Value, [window, stride, prefix]: [&Value; 3]) {
    let number = |v: &Value| v.as_u64().unwrap() as usize;
    let (window, stride) = (number(window), number(stride));
    let prefixed: Vec<u32> = [number(prefix) as u32].into_iter().chain(ids.iter().copied()).collect();
    for (key, stream, plan) in [
        ("stride", ids, Plan::Sliding { tokens: window, stride }),
        ("rolling", &prefixed, Plan::Rolling(window)),
    ] {
        let windows = plan.windows(stream.len());
        let cut = |w: &Window| Tokens { ids: &stream[w.tokens.clone()], first: w.first - w.tokens.start };
        let tokens: Vec<Tokens> = windows.iter().map(cut).collect();
        let losses = model.losses(&tokens, &Control::default()).unwrap();
        let sum: f64 = losses.iter().flatten().map(|&x| f64::from(x)).sum();
        let n = losses.iter().map(Vec::len).sum::<usize>();
        let want = &fixture[key];
        assert_eq!(want["n_scored"].as_u64(), Some(n as u64), "{key}");
        let want = want["nll_sum"].as_f64().unwrap();
        assert!((sum - want).abs() < 1e-5 * want, "{key}: {sum}, expected {want}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let load = |name: &str, dtype, longest| {
        let checkpoint = Checkpoint::open(folder(name)).unwrap();
        Transformer::load(&checkpoint, &cpu(), dtype, longest).err().map(|e| e.code())
    };
    assert_eq!(load("llama", DType::F16, 8), Some(Code::InvalidArgument));
    assert_eq!(load("llama", DType::F32, 0), Some(Code::InvalidArgument));
    // Learned positions end with the context; rotary ones go on.
    assert_eq!(load("gpt2", DType::F32, 1 << 20), Some(Code::InvalidArgument));
    assert_eq!(load("llama", DType::F32, 5000), None);
    assert_eq!(load("olmo-clipped", DType::F32, 8), Some(Code::Unsupported));

    // An id that the model has no row for is known when the losses are read.
    let checkpoint = Checkpoint::open(folder("llama")).unwrap();
    let model = Transformer::load(&checkpoint, &cpu(), DType::F32, 8).unwrap();
    let beyond = checkpoint.config().vocab as u32;
    for ids in [vec![beyond, 1, 2], vec![1, 2, beyond]] {
        assert_eq!(losses(&model, &[ids]).unwrap_err().code(), Code::InvalidValue);
    }
}
