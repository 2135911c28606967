//! What is done with a file that may be hostile: everything that a user's file goes through. Shared by the fuzz
//! targets and by a test.

use std::fs;
use std::path::PathBuf;

use gristmill_core::{Code, DType, Error};
use gristmill_lm::gguf::Gguf;
use gristmill_lm::{Checkpoint, Config, Tokenizer};

/// Reads bytes as a GGUF file: as a model, and as a vocabulary.
pub fn gguf(bytes: &[u8]) {
    match Gguf::parse(bytes, bytes.len() as u64) {
        Err(error) => refused(&error),
        Ok(gguf) => vocabulary(Tokenizer::from_gguf(&gguf)),
    }
    let path = scratch("gguf").join("model.gguf");
    fs::write(&path, bytes).unwrap();
    model(Checkpoint::open(&path));
}

/// Reads bytes as the weights of a small OLMo 2.
pub fn safetensors(bytes: &[u8]) {
    let folder = scratch("safetensors");
    fs::write(folder.join("config.json"), include_str!("../tests/fixtures/tiny/olmo2/config.json")).unwrap();
    fs::write(folder.join("model.safetensors"), bytes).unwrap();
    model(Checkpoint::open(&folder));
}

/// Reads bytes as a `config.json`; what is accepted must have tensors of sizes that do not overflow.
pub fn config(bytes: &[u8]) {
    match Config::from_json(bytes) {
        Err(error) => refused(&error),
        Ok(config) => {
            assert!(config.parameters() > 0);
            if let Some(rope) = &config.rope {
                assert_eq!(rope.frequencies().len(), rope.dims / 2);
            }
        }
    }
}

/// Reads bytes as a `tokenizer.json`, and cuts text with it.
pub fn tokenizer(bytes: &[u8]) {
    vocabulary(Tokenizer::from_json(bytes));
}

fn vocabulary(tokenizer: Result<Tokenizer, Error>) {
    match tokenizer {
        Err(error) => refused(&error),
        Ok(tokenizer) => {
            for text in ["", "a", "Call me  Ishmael, e\u{301}t\u{e9} \u{3042} \u{1f433} <|im_end|> 1851\r\n"]
            {
                if let Err(error) = tokenizer.encode(text) {
                    refused(&error);
                }
            }
        }
    }
}

/// What opens must be readable to the last tensor.
fn model(checkpoint: Result<Checkpoint, Error>) {
    match checkpoint {
        Err(error) => refused(&error),
        Ok(checkpoint) => {
            for spec in checkpoint.config().tensors() {
                let tensor = checkpoint.tensor(&spec.name, DType::Bf16).unwrap();
                assert_eq!(tensor.shape, spec.shape);
            }
            checkpoint.fingerprint().unwrap();
        }
    }
}

/// A folder of this process and thread, since a model is read from files.
fn scratch(name: &str) -> PathBuf {
    let (process, thread) = (std::process::id(), std::thread::current().id());
    let folder = std::env::temp_dir().join(format!("gristmill-{name}-{process}-{thread:?}"));
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn refused(error: &Error) {
    let codes = [Code::InvalidModel, Code::Unsupported, Code::NotFound];
    assert!(codes.contains(&error.code()), "{error:?}");
}
