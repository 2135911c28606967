//! KenLM binaries with one field forged.

use std::path::Path;

use gristmill_ngram::model::Model;

use super::{refused, small};

/// Where the fixed fields of the header are.
const ORDER: usize = 88;
const MULTIPLIER: usize = 92;
const KIND: usize = 96;
const HAS_WORDS: usize = 100;
const SEARCH_VERSION: usize = 104;
const COUNTS: usize = 108;
/// What follows the header of the small models, all of order 4.
const VOCABULARY: usize = 144;

const ALL: [&str; 6] =
    ["pruned.probing", "small.rest", "pruned.trie", "pruned.quant", "pruned.array", "pruned.both"];
const TRIES: [&str; 4] = ["pruned.trie", "pruned.quant", "pruned.array", "pruned.both"];

/// Overwrites bytes of a file and expects that it is refused.
#[track_caller]
fn forged(name: &str, at: usize, bytes: impl AsRef<[u8]>, expected: &str) {
    let bytes = bytes.as_ref();
    let mut file = small(name);
    assert_ne!(&file[at..at + bytes.len()], bytes, "{name}: nothing forged");
    file[at..at + bytes.len()].copy_from_slice(bytes);
    refused(&file, expected);
}

fn number(file: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(file[at..at + 8].try_into().unwrap())
}

/// Where the unigrams of a trie start.
fn unigrams(name: &str) -> usize {
    let file = small(name);
    let quantisation = match name.rsplit('.').next() {
        Some("quant") => 8 + 4 * (3 * 32 + 2 * 16),
        Some("both") => 8 + 4 * (3 * 64 + 2 * 64),
        _ => 0,
    };
    VOCABULARY + 8 + 8 * number(&file, COUNTS) as usize + quantisation
}

#[test]
fn magic_of_another_version() {
    for name in ALL {
        forged(name, 49, "4", "not version 5");
        forged(name, 34, "incomplete\n", "not finished");
    }
}

#[test]
fn built_on_another_architecture() {
    for at in [60, 64, 68, 72, 80] {
        forged("pruned.trie", at, [0x55], "another architecture");
    }
}

#[test]
fn order_out_of_range() {
    for name in ALL {
        for order in [0, 1, 11, 255] {
            forged(name, ORDER, [order], &format!("order {order} is not in 2..=10"));
        }
        // An order that can be, but not in this file.
        forged(name, ORDER, [10], "");
        forged(name, ORDER, [3], "");
    }
}

#[test]
fn multiplier_out_of_range() {
    for multiplier in [0.0, -1.0, 0.999, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        forged("pruned.probing", MULTIPLIER, multiplier.to_le_bytes(), "multiplier");
    }
    for multiplier in [1e6, f32::MAX] {
        forged("pruned.probing", MULTIPLIER, f32::to_le_bytes(multiplier), "the file ends inside");
    }
}

#[test]
fn kind_unknown() {
    for kind in [6u32, 255, u32::MAX] {
        forged("pruned.probing", KIND, kind.to_le_bytes(), "is not known");
    }
    // One kind read as another must fail somewhere, or come out harmless.
    for name in ALL {
        for kind in 0..6u32 {
            let mut file = small(name);
            file[KIND..KIND + 4].copy_from_slice(&kind.to_le_bytes());
            file[SEARCH_VERSION] = u8::from(kind > 1);
            if let Ok(model) = Model::from_bytes(&file) {
                model.score(&[1, 2, 3, 4, 5], true, true, &mut Vec::new());
            }
        }
    }
}

#[test]
fn search_version_unknown() {
    forged("pruned.probing", SEARCH_VERSION, [1], "version 1 of the search structure");
    forged("pruned.trie", SEARCH_VERSION, [0], "version 0 of the search structure");
}

#[test]
fn flag_for_words_wrong() {
    for name in ALL {
        forged(name, HAS_WORDS, [2], "neither 0 nor 1");
    }
    forged("pruned.trie", HAS_WORDS, [0], "bytes after the end");
    forged("pruned.both", HAS_WORDS, [1], "the file ends inside its words");
}

#[test]
fn counts_too_large() {
    for name in ALL {
        for n in 0..4 {
            for count in [u64::MAX, u64::MAX / 12, 1 << 63, 1 << 48] {
                forged(name, COUNTS + 8 * n, count.to_le_bytes(), "cannot be");
            }
            let largest = if n == 0 { u64::from(u32::MAX) - 2 } else { (1 << 48) - 1 };
            for count in [largest, 1 << 31, 1 << 24] {
                forged(name, COUNTS + 8 * n, count.to_le_bytes(), "");
            }
        }
    }
}

#[test]
fn probing_vocabulary_forged() {
    let name = "pruned.probing";
    forged(name, VOCABULARY, [1], "version 1 of the vocabulary");
    for bound in [0u32, 100, u32::MAX] {
        forged(name, VOCABULARY + 4, bound.to_le_bytes(), "words beside");
    }
    // A bound below the ids that are there.
    forged(name, VOCABULARY + 4, 3u32.to_le_bytes(), "out of range");
    let file = small(name);
    let slots: Vec<_> =
        (0..24).map(|i| VOCABULARY + 8 + 12 * i).filter(|at| number(&file, *at) != 0).collect();
    assert_eq!(slots.len(), 6);
    forged(name, slots[0] + 8, u32::MAX.to_le_bytes(), "out of range");
    forged(name, slots[0] + 8, 0u32.to_le_bytes(), "out of range");
    forged(name, slots[0], number(&file, slots[1]).to_le_bytes(), "two words share a hash");
    forged(name, slots[0], 12345u64.to_le_bytes(), "not the one that the vocabulary has");
}

#[test]
fn probing_values_forged() {
    let name = "pruned.probing";
    let unigrams = VOCABULARY + 8 + 12 * 24;
    forged(name, unigrams + 8, f32::NAN.to_le_bytes(), "not the weights of an n-gram");
    forged(name, unigrams + 12, f32::INFINITY.to_le_bytes(), "not the weights of an n-gram");
    let bigrams = unigrams + 8 * 7;
    let file = small(name);
    let slots: Vec<_> = (0..20).map(|i| bigrams + 16 * i).filter(|at| number(&file, *at) != 0).collect();
    // Five of the file and two that KenLM put back.
    assert_eq!(slots.len(), 7);
    forged(name, slots[0] + 8, f32::NAN.to_le_bytes(), "not the weights of an n-gram");
    forged(name, slots[0], number(&file, slots[1]).to_le_bytes(), "comes twice");
}

#[test]
fn trie_vocabulary_forged() {
    for name in TRIES {
        for count in [u64::MAX, 1 << 40, 8, 7] {
            forged(name, VOCABULARY, count.to_le_bytes(), "words and <unk> beside");
        }
        forged(name, VOCABULARY + 16, 0u64.to_le_bytes(), "do not ascend");
        let file = small(name);
        forged(name, VOCABULARY + 16, number(&file, VOCABULARY + 8).to_le_bytes(), "do not ascend");
    }
}

#[test]
fn trie_pointers_forged() {
    for name in TRIES {
        let first = unigrams(name) + 8;
        forged(name, first, 1u64.to_le_bytes(), "do not cover");
        for pointer in [u64::MAX, 1 << 40, 100] {
            forged(name, first + 32, pointer.to_le_bytes(), "do not cover");
        }
        let count = number(&small(name), COUNTS) as usize;
        forged(name, first + 16 * count, 0u64.to_le_bytes(), "do not cover");
    }
}

#[test]
fn trie_values_forged() {
    for name in TRIES {
        let first = unigrams(name);
        forged(name, first, f32::NAN.to_le_bytes(), "not the weights of an n-gram");
        forged(name, first + 4, f32::NEG_INFINITY.to_le_bytes(), "not the weights of an n-gram");
    }
}

#[test]
fn trie_words_forged() {
    // Words fill three bits of each entry: at eight, all are the last word of the vocabulary or beyond.
    for name in TRIES {
        let file = small(name);
        let bigrams = unigrams(name) + 16 * (number(&file, COUNTS) as usize + 2);
        let skip = if name.ends_with("array") || name.ends_with("both") { 48 } else { 0 };
        forged(name, bigrams + skip, [0xff; 10], "");
    }
}

#[test]
fn quantisation_forged() {
    for name in ["pruned.quant", "pruned.both"] {
        let at = VOCABULARY + 8 + 8 * number(&small(name), COUNTS) as usize;
        forged(name, at, [1], "version 1 of the quantisation");
        for (field, bits) in [(1, 0), (1, 26), (1, 255), (2, 0), (2, 26), (2, 255)] {
            forged(name, at + field, [bits], "not in 1..=25");
        }
        forged(name, at + 1, [25], "the file ends inside the quantisation tables");
    }
}

#[test]
fn compressed_pointers_forged() {
    // In a smaller model no pointer is worth compressing.
    for name in ["small.array", "small.both"] {
        let at = unigrams(name) + 16 * (number(&small(name), COUNTS) as usize + 2);
        forged(name, at, [1], "version 1 of the compressed pointers");
        forged(name, at + 1, [0], "");
        assert_eq!(number(&small(name), at + 8), 0);
        for first in [0u64, 1, u64::MAX] {
            forged(name, at + 16, first.to_le_bytes(), "do not cover");
        }
    }
}

#[test]
fn words_at_the_end_forged() {
    for name in ["pruned.probing", "small.rest", "pruned.trie", "pruned.quant", "pruned.array"] {
        let file = small(name);
        let at = file.windows(6).rposition(|w| w == b"<unk>\0").unwrap();
        forged(name, at, "<UNK>", "word 0 is not the one");
        forged(name, at + 6, "?", "word 1 is not the one");
        forged(name, file.len() - 1, "?", "ends inside its words");
        assert_eq!(refused(&file[..at + 3], "ends inside its words").location().offset, Some(at as u64 + 3));
    }
}

#[test]
fn a_path_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.bin");
    std::fs::write(&path, &small("small.trie")[..200]).unwrap();
    let error = Model::load(&path).unwrap_err();
    assert_eq!(error.location().path.as_deref().map(Path::new), Some(path.as_path()));
    assert!(error.location().offset.is_some());
}
