//! Small models of every family against transformers (`tests/fixtures/make_tiny.py`).

use std::fs;
use std::path::{Path, PathBuf};

use gristmill_core::{Code, DType};
use gristmill_lm::{Checkpoint, HostTensor};
use half::bf16;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::reference::Reference;
use crate::tokenizer;

/// What transformers made of sequences of ids.
#[derive(Deserialize)]
pub(crate) struct Expected {
    pub(crate) sequences: Vec<Vec<u32>>,
    pub(crate) nll: Vec<Vec<f64>>,
    pub(crate) bf16_mean_error: f64,
}

impl Expected {
    pub(crate) fn read(name: &str) -> Self {
        let expected = fs::read(folder(name).join("expected.json")).unwrap();
        serde_json::from_slice(&expected).unwrap()
    }
}

pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny").join(name)
}

/// A copy of a small model, to be changed.
pub(crate) fn copy(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder(name)).unwrap() {
        let from = entry.unwrap().path();
        fs::copy(&from, copy.path().join(from.file_name().unwrap())).unwrap();
    }
    copy
}

/// The header of a safetensors file and its data.
pub(crate) fn parts(path: &Path) -> (Value, Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    let size = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (serde_json::from_slice(&bytes[8..8 + size]).unwrap(), bytes[8 + size..].to_vec())
}

pub(crate) fn write(path: &Path, header: &[u8], data: &[u8]) {
    fs::write(path, [&(header.len() as u64).to_le_bytes(), header, data].concat()).unwrap();
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

/// Files of bare models have no prefix, and old releases saved causal masks and rotary tables, which are no weights.
#[test]
fn files_of_old_releases_are_the_same_models() {
    for (name, prefix, buffers) in [
        ("gpt-neox", "gpt_neox.", ["layers.0.attention.bias", "layers.1.attention.rotary_emb.inv_freq"]),
        ("gpt2", "transformer.", ["h.0.attn.bias", "h.1.attn.masked_bias"]),
        (
            "qwen2",
            "model.",
            ["layers.0.self_attn.rotary_emb.inv_freq", "layers.1.self_attn.rotary_emb.inv_freq"],
        ),
    ] {
        let folder = copy(name);
        let path = folder.path().join("model.safetensors");
        let (header, mut data) = parts(&path);
        let mut old = serde_json::Map::new();
        for (name, entry) in header.as_object().unwrap() {
            let name = name.strip_prefix(prefix).unwrap_or(name);
            let head = name == "lm_head.weight" && prefix == "gpt_neox.";
            old.insert(if head { "embed_out.weight" } else { name }.to_owned(), entry.clone());
        }
        for buffer in buffers {
            let entry = json!({"dtype": "U8", "shape": [1, 4], "data_offsets": [data.len(), data.len() + 4]});
            old.insert(buffer.to_owned(), entry);
            data.extend([1; 4]);
        }
        write(&path, Value::Object(old).to_string().as_bytes(), &data);
        let (new, old) =
            (Checkpoint::open(self::folder(name)).unwrap(), Checkpoint::open(folder.path()).unwrap());
        for spec in new.tensors() {
            let tensor = |c: &Checkpoint| c.tensor(&spec.name, DType::F32).unwrap();
            assert_eq!(tensor(&new), tensor(&old), "{name}: {}", spec.name);
        }
        assert_ne!(new.fingerprint().unwrap(), old.fingerprint().unwrap());
    }
}

#[test]
fn a_fingerprint_is_of_every_byte() {
    let folder = copy("mistral");
    let fingerprint = || Checkpoint::open(folder.path()).unwrap().fingerprint().unwrap();
    let original = fingerprint();
    assert_eq!(original, Checkpoint::open(self::folder("mistral")).unwrap().fingerprint().unwrap());
    for file in ["config.json", "model-00003-of-00003.safetensors"] {
        let path = folder.path().join(file);
        let bytes = fs::read(&path).unwrap();
        let mut changed = bytes.clone();
        match file {
            "config.json" => changed.push(b'\n'),
            _ => *changed.last_mut().unwrap() ^= 1,
        }
        fs::write(&path, changed).unwrap();
        assert_ne!(fingerprint(), original, "{file}");
        fs::write(&path, bytes).unwrap();
    }
    assert_eq!(fingerprint(), original);
}

#[test]
fn names_and_types_that_a_model_does_not_have() {
    let checkpoint = Checkpoint::open(folder("llama")).unwrap();
    let code = |name: &str, to: DType| checkpoint.tensor(name, to).unwrap_err().code();
    assert_eq!(code("head.weight", DType::F32), Code::NotFound);
    assert_eq!(code("model.embed_tokens.weight", DType::F32), Code::NotFound);
    assert_eq!(code("embed.weight", DType::F16), Code::DtypeMismatch);
}

/// The tokenizer has 425 ids, and the model 199 rows.
#[test]
fn ids_without_a_row_are_refused() {
    let folder = copy("llama");
    fs::copy(tokenizer::file("gpt-2.json"), folder.path().join("tokenizer.json")).unwrap();
    let tokenizer = Checkpoint::open(folder.path()).unwrap().tokenizer().unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(1), Some(2)));
    assert!(tokenizer.encode("a").is_ok());
    let error = tokenizer.encode_batch(&["a", "<file_sep>"]).unwrap_err();
    assert_eq!((error.code(), error.location().row), (Code::InvalidModel, Some(1)));
    assert!(error.message().contains("199 rows"), "{error}");
}
