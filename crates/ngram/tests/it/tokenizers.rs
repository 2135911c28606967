//! Tokenizer files: SentencePiece models against the original (`tests/data/sentencepiece/make.py` made the
//! fixture) and against damage, and `tokenizer.json`.

use std::collections::BTreeMap;

use gristmill_core::Code;
use gristmill_core::hash::hash64;
use gristmill_ngram::normalize::{Normalizer, NormalizerSpec};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    texts: Vec<String>,
    pieces: BTreeMap<String, Vec<Vec<String>>>,
}

fn path(name: &str) -> String {
    format!("{}/tests/data/sentencepiece/{name}.model", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn cuts_as_the_original_does() {
    let fixture: Fixture = serde_json::from_str(include_str!("../data/sentencepiece/expected.json")).unwrap();
    assert_eq!(fixture.pieces.len(), 5);
    for (name, expected) in &fixture.pieces {
        let normalizer = Normalizer::from_file(path(name)).unwrap();
        assert_eq!(normalizer.spec().name, "sentencepiece/1");
        for (text, expected) in fixture.texts.iter().zip(expected) {
            assert_eq!(normalizer.tokens(text).unwrap(), *expected, "{name}: {text:?}");
        }
    }
}

#[test]
fn ccnet_comes_before_the_pieces() {
    let both = Normalizer::resolve(&format!("ccnet/1+{}", path("unigram"))).unwrap();
    let pieces = Normalizer::from_file(path("unigram")).unwrap();
    let ccnet = "the whale of 0000";
    assert_eq!(both.tokens("The Whâle\n of 1851").unwrap(), pieces.tokens(ccnet).unwrap());
    assert_eq!(both.spec().name, "ccnet/1+sentencepiece/1");
    assert_eq!(both.spec().sha256, pieces.spec().sha256);
    let named = Normalizer::named("wordpunct/1").unwrap();
    assert_eq!(named.behind_ccnet().unwrap_err().code(), Code::InvalidArgument);
}

#[test]
fn a_spec_finds_its_file_again_and_no_other() {
    let both = Normalizer::resolve(&format!("ccnet/1+{}", path("bpe"))).unwrap();
    let spec: NormalizerSpec = serde_json::from_str(&serde_json::to_string(both.spec()).unwrap()).unwrap();
    assert_eq!(Normalizer::of_spec(&spec, Some(&path("bpe"))).unwrap().spec(), &spec);
    for wrong in [None, Some(path("unigram")), Some("wordpunct/1".to_owned())] {
        assert_eq!(Normalizer::of_spec(&spec, wrong.as_deref()).unwrap_err().code(), Code::InvalidArgument);
    }
    let plain = Normalizer::default();
    assert_eq!(Normalizer::of_spec(plain.spec(), None).unwrap().spec(), plain.spec());
}

#[test]
fn damaged_files_are_refused_or_cut_somehow_but_never_crash() {
    let text = "The white whale, e\u{301}té \u{3000} <sep> 漢字 whale";
    for name in ["unigram", "bpe-bytes"] {
        let bytes = std::fs::read(path(name)).unwrap();
        for length in (0..bytes.len()).step_by(97) {
            if let Err(error) = Normalizer::from_bytes(&bytes[..length]) {
                assert_eq!(error.code(), Code::InvalidModel, "{name} cut at {length}");
            }
        }
        for round in 0..3000u64 {
            let mut damaged = bytes.clone();
            let random = hash64(round, name.as_bytes());
            // Half of the damage goes to the end, where the normalisation map and the settings are.
            let from = if round % 2 == 0 { 0 } else { bytes.len() - bytes.len() / 8 };
            let at = from + (random >> 8) as usize % (bytes.len() - from);
            damaged[at] = random as u8;
            if let Ok(normalizer) = Normalizer::from_bytes(&damaged) {
                normalizer.tokens(text).unwrap();
            }
        }
    }
}

#[test]
fn other_files_are_refused() {
    for bytes in [&b""[..], b"{", b"{\"version\": \"1.0\"}", b"\\data\\\nngram 1=3\n", b"\xff\xff\xff\xff"] {
        assert_eq!(Normalizer::from_bytes(bytes).unwrap_err().code(), Code::InvalidModel, "{bytes:?}");
    }
    assert_eq!(Normalizer::from_file("/nowhere/at.model").unwrap_err().code(), Code::NotFound);
    assert_eq!(Normalizer::resolve("unicode-words/9").unwrap_err().code(), Code::InvalidArgument);
}

/// A `tokenizer.json` that knows four words; it would cut text to two tokens and pad it to six.
fn tokenizer_json(unknown: &str) -> String {
    format!(
        r#"{{"version": "1.0",
            "truncation": {{"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}},
            "padding": {{"strategy": {{"Fixed": 6}}, "direction": "Right", "pad_to_multiple_of": null,
                         "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}},
            "added_tokens": [{{"id": 4, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
                              "normalized": false, "special": true}}],
            "normalizer": {{"type": "Lowercase"}}, "pre_tokenizer": {{"type": "Whitespace"}},
            "post_processor": null, "decoder": null,
            "model": {{"type": "WordLevel", "vocab": {{"[PAD]": 0, "[UNK]": 1, "mill": 2, "wheel": 3}},
                      "unk_token": "{unknown}"}}}}"#
    )
}

#[test]
fn tokenizer_json_is_used_whole_and_without_its_markers() {
    let normalizer = Normalizer::from_bytes(tokenizer_json("[UNK]").as_bytes()).unwrap();
    assert_eq!(normalizer.spec().name, "tokenizers/1");
    assert_eq!(normalizer.spec().sha256.as_ref().map(String::len), Some(64));
    let tokens = normalizer.tokens("<s>Mill wheel, MILL").unwrap();
    assert_eq!(tokens, ["mill", "wheel", "[UNK]", "mill"]);
}

#[test]
fn a_tokenizer_that_refuses_text_is_a_typed_error() {
    let normalizer = Normalizer::from_bytes(tokenizer_json("[NONE]").as_bytes()).unwrap();
    assert_eq!(normalizer.tokens("mill").unwrap(), ["mill"]);
    assert_eq!(normalizer.tokens("stone").unwrap_err().code(), Code::InvalidModel);
}

/// The library slices a merge by the length of a prefix that it does not check.
#[test]
fn a_tokenizer_that_makes_its_library_panic_is_a_typed_error() {
    let json = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "@@",
                  "end_of_word_suffix": null, "fuse_unk": false, "vocab": {"a": 0, "b": 1, "ab": 2},
                  "merges": ["a b"]}}"#;
    let error = Normalizer::from_bytes(json.as_bytes()).unwrap_err();
    assert_eq!(error.code(), Code::InvalidModel);
    assert!(error.message().contains("tokenizer file") && error.hint_text().is_some(), "{error}");
}
