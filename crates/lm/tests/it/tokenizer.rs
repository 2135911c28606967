//! Vocabularies inside GGUF files and `tokenizer.json`, against the programs that made them
//! (`tests/fixtures/make_tokenizers.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gristmill_core::Code;
use gristmill_lm::Tokenizer;
use gristmill_lm::gguf::Gguf;
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    texts: Vec<String>,
    ids: BTreeMap<String, Vec<Vec<u32>>>,
}

pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers").join(name)
}

fn expected() -> Expected {
    serde_json::from_slice(&std::fs::read(file("expected.json")).unwrap()).unwrap()
}

#[test]
fn vocabularies_in_gguf_files_cut_as_their_originals_do() {
    let Expected { texts, ids } = expected();
    assert_eq!(ids.len(), 6);
    for (name, ids) in &ids {
        let tokenizer = Tokenizer::from_gguf(&Gguf::open(file(&format!("{name}.gguf"))).unwrap()).unwrap();
        for (text, ids) in texts.iter().zip(ids) {
            // SentencePiece reads control tokens as text.
            if name == "llama" && text.contains("<|") {
                continue;
            }
            assert_eq!(&tokenizer.encode(text).unwrap(), ids, "{name}: {text:?}");
        }
        assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(1), Some(2)));
        assert_eq!(tokenizer.adds_bos(), name == "llama");
    }
}

#[test]
fn a_tokenizer_json_cuts_as_the_library_that_wrote_it() {
    let Expected { texts, ids } = expected();
    for (name, ids) in ids.iter().filter(|(name, _)| *name != "llama") {
        let json = std::fs::read(file(&format!("{name}.json"))).unwrap();
        let tokenizer = Tokenizer::from_json(&json).unwrap();
        assert_eq!(&tokenizer.encode_batch(&texts).unwrap(), ids, "{name}");
        assert_eq!(tokenizer.id_of("<|im_end|>"), Some(2));
    }
}

/// A `tokenizer.json` of four words with this post-processor.
fn words(post_processor: &str) -> String {
    format!(
        r#"{{"version": "1.0", "truncation": {{"direction": "Right", "max_length": 2, "strategy": "LongestFirst",
             "stride": 0}}, "padding": null, "added_tokens": [], "normalizer": null,
             "pre_tokenizer": {{"type": "Whitespace"}}, "post_processor": {post_processor}, "decoder": null,
             "model": {{"type": "WordLevel", "vocab": {{"<s>": 0, "</s>": 1, "mill": 2, "wheel": 3}},
                        "unk_token": "<s>"}}}}"#
    )
}

const AROUND: &str = r#"{"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
               {"SpecialToken": {"id": "</s>", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]},
                       "</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}}"#;

#[test]
fn a_recipe_shows_what_it_puts_around_a_text_and_encoding_leaves_it_out() {
    let tokenizer = Tokenizer::from_json(words(AROUND).as_bytes()).unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(0), Some(1)));
    assert!(tokenizer.adds_bos() && tokenizer.adds_eos());
    assert_eq!(tokenizer.encode("mill wheel mill wheel").unwrap(), [2, 3, 2, 3]);
    let plain = Tokenizer::from_json(words("null").as_bytes()).unwrap();
    assert_eq!((plain.bos(), plain.eos(), plain.adds_bos()), (None, None, false));
}

#[test]
fn a_folder_says_which_tokens_begin_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    assert_eq!(Tokenizer::open(folder.path()).unwrap_err().code(), Code::NotFound);
    std::fs::write(at("tokenizer.json"), words("null")).unwrap();
    std::fs::write(at("tokenizer_config.json"), r#"{"bos_token": {"content": "</s>"}, "eos_token": "<s>"}"#)
        .unwrap();
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.adds_bos()), (Some(1), Some(0), false));
    std::fs::write(at("tokenizer_config.json"), r#"{"bos_token": "<none>"}"#).unwrap();
    let error = Tokenizer::open(folder.path()).unwrap_err();
    assert_eq!((error.code(), error.location().column.as_deref()), (Code::InvalidModel, Some("bos_token")));
}

/// The library slices a merge by the length of a prefix that it does not check.
#[test]
fn a_tokenizer_that_makes_its_library_panic_is_a_typed_error() {
    let json = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "@@",
                  "end_of_word_suffix": null, "fuse_unk": false, "vocab": {"a": 0, "b": 1, "ab": 2},
                  "merges": ["a b"]}}"#;
    assert_eq!(Tokenizer::from_json(json.as_bytes()).unwrap_err().code(), Code::InvalidModel);
    let random = json.replace("\"dropout\": null", "\"dropout\": 0.1").replace("\"@@\"", "null");
    assert_eq!(Tokenizer::from_json(random.as_bytes()).unwrap_err().code(), Code::Unsupported);
}
