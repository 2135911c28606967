//! Valid files with random damage: read or refused, never a panic, never more memory than the file justifies.

#[path = "../../../fuzz/entry.rs"]
#[allow(unreachable_pub)]
mod entry;

use std::fs;

use gristmill_core::hash::hash64;
use gristmill_lm::gguf::Gguf;
use gristmill_lm::{Checkpoint, Config, Tokenizer};
use proptest::prelude::*;

use crate::{gguf, tiny, tokenizer};

/// A stream of numbers from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(1);
        (hash64(self.0, b"damage") % n.max(1) as u64) as usize
    }

    /// Changes a few bytes of the first `reach`: bits, bytes, the extremes of wider fields, pieces moved or lost.
    fn damage(&mut self, bytes: &mut Vec<u8>, reach: usize) {
        for _ in 0..=self.below(3) {
            if bytes.is_empty() {
                return;
            }
            let at = self.below(bytes.len().min(reach));
            let end = (at + 1 + self.below(12)).min(bytes.len());
            match self.below(6) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.below(256) as u8,
                2 => {
                    let extreme = [0, 1, 0x7f, 0x80, 0xff][self.below(5)];
                    bytes[at..end].fill(extreme);
                }
                3 => drop(bytes.drain(at..end)),
                4 => {
                    let piece = bytes[at..end].to_vec();
                    let to = self.below(bytes.len().min(reach));
                    drop(bytes.splice(to..to, piece));
                }
                _ => bytes.truncate(at.max(1)),
            }
        }
    }
}

/// Runs an entry point over damaged copies of a file.
fn run(seed: u64, original: &[u8], reach: usize, entry: impl Fn(&[u8])) {
    let mut random = Random(seed << 32);
    entry(original);
    for _ in 0..400 {
        let mut bytes = original.to_vec();
        random.damage(&mut bytes, reach);
        entry(&bytes);
    }
}

#[test]
fn gguf_models() {
    for (seed, name) in ["llama", "gpt2", "gpt-neox", "llama-biases", "olmo"].into_iter().enumerate() {
        let original = fs::read(gguf::file(&format!("{name}.gguf"))).unwrap();
        assert!(Checkpoint::open(gguf::file(&format!("{name}.gguf"))).is_ok());
        // The header has about 2,500 bytes.
        run(seed as u64, &original, 2500, entry::gguf);
    }
}

#[test]
fn vocabularies_in_gguf_files() {
    for (seed, name) in ["gpt-2.gguf", "llama.gguf", "llama-bpe.gguf"].into_iter().enumerate() {
        run(10 + seed as u64, &fs::read(tokenizer::file(name)).unwrap(), usize::MAX, entry::gguf);
    }
}

#[test]
fn tokenizer_json() {
    for (seed, name) in ["smollm.json", "qwen2.json"].into_iter().enumerate() {
        run(20 + seed as u64, &fs::read(tokenizer::file(name)).unwrap(), usize::MAX, entry::tokenizer);
    }
}

#[test]
fn safetensors() {
    run(30, &fs::read(tiny::folder("olmo2").join("model.safetensors")).unwrap(), 2000, entry::safetensors);
}

#[test]
fn configurations() {
    for (seed, name) in tiny::MODELS.into_iter().enumerate() {
        run(
            40 + seed as u64,
            &fs::read(tiny::folder(name).join("config.json")).unwrap(),
            usize::MAX,
            entry::config,
        );
    }
}

proptest! {
    #[test]
    fn bytes_of_no_format(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let headed = [b"GGUF\x03\0\0\0", &bytes[..]].concat();
        for bytes in [&bytes, &headed] {
            prop_assert!(Gguf::parse(&bytes[..], bytes.len() as u64).is_err());
            prop_assert!(Config::from_json(bytes).is_err());
            prop_assert!(Tokenizer::from_json(bytes).is_err());
        }
    }
}
