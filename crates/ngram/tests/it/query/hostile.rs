//! Files that are damaged, or made to do damage: a typed error that says where, never a panic, a hang or an
//! allocation that the size of the file does not justify (which would be `OUT_OF_MEMORY` here, not
//! `INVALID_MODEL`).

mod arpa;
mod gml;
mod kenlm;
mod mutated;

use std::path::Path;

use gristmill_core::{Code, Error};
use gristmill_ngram::model::Model;
use proptest::prelude::*;

use super::random_ids;

/// The error of a file that must be refused at a known place.
#[track_caller]
fn refused(bytes: &[u8], expected: &str) -> Error {
    let error = Model::from_bytes(bytes).expect_err("a forged file was read");
    assert_eq!(error.code(), Code::InvalidModel, "{error}");
    assert!(error.message().contains(expected), "{expected:?} is not in {error}");
    let place = error.location();
    assert!(place.offset.is_some() || place.row.is_some(), "no place in {error}");
    error
}

fn small(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kenlm").join(name)).unwrap()
}

/// A file of every kind that is read, with its name.
fn every_kind() -> Vec<(&'static str, Vec<u8>)> {
    let names = ["pruned.probing", "small.rest", "pruned.trie", "pruned.quant", "pruned.array", "small.both"];
    let mut files: Vec<_> = names.iter().map(|name| (*name, small(name))).collect();
    files.push(("gml", gml::valid()));
    files.push(("arpa", small("pruned.arpa")));
    files.push(("arpa.gz", arpa::gzipped(&small("pruned.arpa"))));
    files
}

#[test]
fn truncated_anywhere() {
    for (name, bytes) in every_kind() {
        assert!(Model::from_bytes(&bytes).is_ok(), "{name}");
        // The line end after the last line of an ARPA file is not missed.
        let needed = if name == "arpa" { bytes.len() - 1 } else { bytes.len() };
        for length in 0..needed {
            let error = Model::from_bytes(&bytes[..length]).expect_err(name);
            assert_eq!(error.code(), Code::InvalidModel, "{name} cut to {length}: {error}");
            let place = error.location();
            assert!(place.offset.is_some() || place.row.is_some(), "{name} cut to {length}: {error}");
        }
    }
}

#[test]
fn bytes_after_the_end() {
    for (name, mut bytes) in every_kind() {
        bytes.push(b'x');
        let error = Model::from_bytes(&bytes).expect_err(name);
        assert_eq!(error.code(), Code::InvalidModel, "{name}: {error}");
    }
}

#[test]
fn an_empty_file_and_files_of_other_kinds() {
    for bytes in [&b""[..], b"\n\n", b"PAR1", b"\x89PNG\r\n\x1a\n", b"{}", b"\xff\xfe\x00", &[0; 4096]] {
        refused(bytes, "");
    }
    assert!(refused(b"{}", "line 1").hint_text().is_some_and(|hint| hint.contains("ARPA")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Formats without checksums may read; then queries must still be sound.
    #[test]
    fn flipped_bits(kind in 0..9usize, flips in proptest::collection::vec((any::<u32>(), 0..8u32), 1..4)) {
        let (name, mut bytes) = every_kind().swap_remove(kind);
        let original = bytes.clone();
        for (at, bit) in flips {
            let at = at as usize % bytes.len();
            bytes[at] ^= 1 << bit;
        }
        prop_assume!(bytes != original);
        match Model::from_bytes(&bytes) {
            Ok(model) => {
                prop_assert!(name != "gml", "damage was not noticed");
                let mut scores = Vec::new();
                model.score(&random_ids(bytes.len() as u64, 300, model.words()), true, true, &mut scores);
                prop_assert!(scores.iter().all(|score| !score.is_nan()));
            }
            Err(error) => prop_assert_eq!(error.code(), Code::InvalidModel, "{}: {}", name, error),
        }
    }
}
