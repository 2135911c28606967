//! GGUF files against the folders that they were converted from, and against the `gguf` package
//! (`tests/fixtures/make_gguf.py`).

use std::path::{Path, PathBuf};

use gristmill_core::DType;
use gristmill_lm::Checkpoint;
use gristmill_lm::config::{Architecture, Config, RopeScaling};
use gristmill_lm::gguf::{Encoding, Gguf};

use crate::tiny;

pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf").join(name)
}

#[test]
fn every_family_is_the_model_of_its_folder() {
    for name in
        ["gpt2", "gpt-neox", "llama", "llama-biases", "llama-linear", "qwen2", "qwen3", "olmo", "olmo2"]
    {
        let original = Checkpoint::open(tiny::folder(name)).unwrap();
        let converted = Checkpoint::open(file(&format!("{name}.gguf"))).unwrap();
        same_config(original.config(), converted.config());
        for spec in original.tensors() {
            let tensor = |c: &Checkpoint| c.tensor(&spec.name, DType::F32).unwrap();
            assert_eq!(tensor(&original), tensor(&converted), "{name}: {}", spec.name);
        }
    }
}

/// Llama 3.1's stretch comes as divisors, which differ from the formula in the last bit.
fn same_config(original: &Config, converted: &Config) {
    let (mut a, mut b) = (original.clone(), converted.clone());
    if let (Some(a), Some(b)) = (&mut a.rope, &mut b.rope) {
        for (a, b) in a.frequencies().into_iter().zip(b.frequencies()) {
            assert!((a - b).abs() <= 3e-7 * a, "{a} {b}");
        }
        assert_eq!(
            matches!(a.scaling, RopeScaling::Llama3 { .. }),
            matches!(b.scaling, RopeScaling::Divisors(_))
        );
        (a.scaling, b.scaling) = (RopeScaling::None, RopeScaling::None);
    }
    assert_eq!(a, b);
    assert_ne!(a.architecture, Architecture::Mistral);
}

#[test]
fn every_encoding_decodes_to_the_bits_of_the_gguf_package() {
    let path = file("encodings.gguf");
    let (bytes, gguf) = (std::fs::read(&path).unwrap(), Gguf::open(&path).unwrap());
    let expected = std::fs::read(file("encodings.f32")).unwrap();
    assert_eq!(gguf.tensors().len(), Encoding::ALL.len());
    let mut expected = expected.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b).to_bits());
    for (tensor, encoding) in gguf.tensors().iter().map(|t| (t, t.encoding)) {
        assert_eq!(
            (tensor.name.as_str(), &tensor.shape[..]),
            (encoding.to_string().to_uppercase().as_str(), &[3, 512][..])
        );
        let stored = &bytes[tensor.offset as usize..(tensor.offset + tensor.bytes) as usize];
        let mut out = vec![0.0; 3 * 512];
        encoding.decode(stored, &mut out);
        for (at, value) in out.iter().enumerate() {
            assert_eq!(Some(value.to_bits()), expected.next(), "{encoding}, element {at}: {value}");
        }
    }
    assert_eq!(expected.next(), None);
}
