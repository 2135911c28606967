//! Small models of every family against transformers (`tests/fixtures/make_tiny.py`).

use std::path::{Path, PathBuf};

use gristmill_core::DType;
use gristmill_lm::{Checkpoint, HostTensor};
use half::bf16;
use serde::Deserialize;

use crate::reference::Reference;

/// What transformers made of sequences of ids.
#[derive(Deserialize)]
pub(crate) struct Expected {
    pub(crate) sequences: Vec<Vec<u32>>,
    pub(crate) nll: Vec<Vec<f64>>,
    pub(crate) bf16_mean_error: f64,
}

impl Expected {
    pub(crate) fn read(name: &str) -> Self {
        let expected = std::fs::read(folder(name).join("expected.json")).unwrap();
        serde_json::from_slice(&expected).unwrap()
    }
}

pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny").join(name)
}

/// All but the one with clipped queries, which the transformer refuses.
pub(crate) const MODELS: [&str; 12] = [
    "gpt2",
    "gpt2-f16",
    "gpt-neox",
    "gpt-neox-sequential",
    "llama",
    "llama-biases",
    "llama-linear",
    "mistral",
    "qwen2",
    "qwen3",
    "olmo",
    "olmo2",
];

#[test]
fn every_family_has_the_losses_of_transformers() {
    for name in MODELS.into_iter().chain(["olmo-clipped"]) {
        let expected = Expected::read(name);
        let model = Reference::load(&Checkpoint::open(folder(name)).unwrap());
        for (ids, expected) in expected.sequences.iter().zip(&expected.nll) {
            let nll = model.nll(ids);
            assert_eq!(nll.len(), expected.len());
            for (position, (nll, expected)) in nll.iter().zip(expected).enumerate() {
                assert!(
                    (nll - expected).abs() < 5e-5,
                    "{name}, position {position}: {nll}, expected {expected}"
                );
            }
        }
    }
}

#[test]
fn bf16_is_the_rounded_f32() {
    for name in MODELS {
        let checkpoint = Checkpoint::open(folder(name)).unwrap();
        for spec in checkpoint.tensors() {
            let whole = checkpoint.tensor(&spec.name, DType::F32).unwrap();
            let half: HostTensor = checkpoint.tensor(&spec.name, DType::Bf16).unwrap();
            let rounded: Vec<f32> = whole.to_f32().iter().map(|x| bf16::from_f32(*x).to_f32()).collect();
            assert_eq!(
                (half.to_f32(), half.dtype(), half.bytes().len()),
                (rounded, DType::Bf16, 2 * whole.to_f32().len())
            );
        }
    }
}
