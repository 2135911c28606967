//! GGUF headers.

use gristmill_core::{Code, Error, Result};
use gristmill_lm::Config;
use gristmill_lm::gguf::Gguf;

use super::refused;

/// A file in the making: pairs and tensors as bytes, so that every field can lie.
#[derive(Clone)]
struct File {
    version: u32,
    tensors: Vec<Vec<u8>>,
    pairs: Vec<Vec<u8>>,
    claimed: [Option<u64>; 2],
    data: usize,
}

impl File {
    /// Two f32 tensors of 8 elements.
    fn valid() -> Self {
        let pairs = vec![
            pair("general.architecture", 8, &string(b"llama")),
            pair("general.alignment", 4, &u32s(&[32])),
        ];
        let tensors = vec![tensor(b"a", &[8], 0, 0), tensor(b"b", &[4, 2], 0, 32)];
        Self { version: 3, tensors, pairs, claimed: [None, None], data: 64 }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        let counts = [self.tensors.len() as u64, self.pairs.len() as u64];
        for (count, claimed) in counts.into_iter().zip(self.claimed) {
            bytes.extend(claimed.unwrap_or(count).to_le_bytes());
        }
        bytes.extend(self.pairs.concat());
        bytes.extend(self.tensors.concat());
        bytes.resize(bytes.len().next_multiple_of(32) + self.data, 0);
        bytes
    }

    fn parse(&self) -> Result<Gguf> {
        parse(&self.bytes())
    }

    fn with_pair(pair: Vec<u8>) -> Self {
        let mut file = Self::valid();
        file.pairs.push(pair);
        file
    }

    fn with_tensor(tensor: Vec<u8>) -> Self {
        let mut file = Self::valid();
        file.tensors[1] = tensor;
        file
    }
}

fn parse(bytes: &[u8]) -> Result<Gguf, Error> {
    Gguf::parse(bytes, bytes.len() as u64)
}

fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text].concat()
}

fn u32s(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

fn pair(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&string(key.as_bytes()), &kind.to_le_bytes()[..], value].concat()
}

fn tensor(name: &[u8], sizes: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let sizes_bytes: Vec<u8> = sizes.iter().flat_map(|n| n.to_le_bytes()).collect();
    let rank = (sizes.len() as u32).to_le_bytes();
    [&string(name), &rank[..], &sizes_bytes, &kind.to_le_bytes(), &offset.to_le_bytes()].concat()
}

fn array(kind: u32, count: u64, entries: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &count.to_le_bytes(), entries].concat()
}

#[test]
fn the_valid_file_is_valid() {
    let gguf = File::valid().parse().unwrap();
    assert_eq!((gguf.version(), gguf.tensors()[1].shape.as_slice()), (3, &[2, 4][..]));
    assert_eq!(File { version: 2, ..File::valid() }.parse().unwrap().tensors().len(), 2);
}

#[test]
fn cut_anywhere() {
    let bytes = File::valid().bytes();
    for length in 0..bytes.len() {
        assert_eq!(parse(&bytes[..length]).unwrap_err().code(), Code::InvalidModel, "cut at {length}");
    }
}

#[test]
fn longer_than_it_is() {
    let bytes = File::valid().bytes();
    assert_eq!(Gguf::parse(&bytes[..100], bytes.len() as u64).unwrap_err().code(), Code::InvalidModel);
}

#[test]
fn another_format_or_version() {
    refused(parse(b"GGML....................."), Code::InvalidModel, "not a GGUF file");
    refused(File { version: 1, ..File::valid() }.parse(), Code::Unsupported, "version 1");
    refused(File { version: 4, ..File::valid() }.parse(), Code::Unsupported, "version 4");
    refused(File { version: 3 << 24, ..File::valid() }.parse(), Code::Unsupported, "big-endian");
}

#[test]
fn counts_beyond_the_file() {
    for count in [40, 1 << 32, u64::MAX / 8, u64::MAX] {
        let tensors = File { claimed: [Some(count), None], ..File::valid() };
        refused(tensors.parse(), Code::InvalidModel, "");
        let pairs = File { claimed: [None, Some(count)], ..File::valid() };
        refused(pairs.parse(), Code::InvalidModel, "");
    }
}

#[test]
fn a_key_of_four_exabytes() {
    let key = [&(1u64 << 62).to_le_bytes()[..], b"key"].concat();
    refused(File::with_pair(key).parse(), Code::InvalidModel, "bytes expected");
}

#[test]
fn a_key_that_is_empty_or_endless_or_no_text() {
    refused(File::with_pair(pair("", 0, &[0])).parse(), Code::InvalidModel, "0 bytes");
    refused(File::with_pair(pair(&"k".repeat(70_000), 0, &[0])).parse(), Code::InvalidModel, "70000 bytes");
    let key = [&string(b"\xff\xfe"), &0u32.to_le_bytes()[..], &[0]].concat();
    refused(File::with_pair(key).parse(), Code::InvalidModel, "UTF-8");
}

#[test]
fn a_key_twice() {
    refused(File::with_pair(pair("general.architecture", 0, &[0])).parse(), Code::InvalidModel, "twice");
}

#[test]
fn values_of_no_type() {
    refused(File::with_pair(pair("k", 13, &[0; 8])).parse(), Code::InvalidModel, "type 13");
    refused(File::with_pair(pair("k", 9, &array(99, 1, &[0; 8]))).parse(), Code::InvalidModel, "type 99");
    refused(File::with_pair(pair("k", 7, &[2])).parse(), Code::InvalidModel, "truth value");
    refused(File::with_pair(pair("k", 9, &array(7, 2, &[1, 7]))).parse(), Code::InvalidModel, "truth value");
}

#[test]
fn arrays_beyond_the_file() {
    for kind in [0, 5, 8, 9, 12] {
        for count in [1 << 20, 1 << 61, u64::MAX] {
            refused(File::with_pair(pair("k", 9, &array(kind, count, &[]))).parse(), Code::InvalidModel, "");
        }
    }
}

#[test]
fn arrays_in_arrays_without_end() {
    let mut nested = array(0, 0, &[]);
    for _ in 0..3 {
        nested = array(9, 1, &nested);
    }
    assert!(File::with_pair(pair("k", 9, &nested)).parse().is_ok());
    for _ in 0..100_000 {
        nested.splice(0..0, array(9, 1, &[]));
    }
    refused(File::with_pair(pair("k", 9, &nested)).parse(), Code::InvalidModel, "nested too deeply");
}

#[test]
fn alignments_that_are_none() {
    for alignment in [0, 3, 48, 1 << 21, u32::MAX] {
        let mut file = File::valid();
        file.pairs[1] = pair("general.alignment", 4, &u32s(&[alignment]));
        refused(file.parse(), Code::InvalidModel, "power of two");
    }
    let mut file = File::valid();
    file.pairs[1] = pair("general.alignment", 8, &string(b"32"));
    refused(file.parse(), Code::InvalidModel, "power of two");
}

#[test]
fn tensors_of_no_or_too_many_dimensions() {
    for sizes in [&[][..], &[1; 5], &[1; 1000]] {
        refused(File::with_tensor(tensor(b"b", sizes, 0, 32)).parse(), Code::InvalidModel, "dimensions");
    }
    let rank = [&string(b"b"), &u32::MAX.to_le_bytes()[..]].concat();
    refused(File::with_tensor(rank).parse(), Code::InvalidModel, "dimensions");
}

#[test]
fn sizes_that_overflow() {
    for sizes in [&[u64::MAX][..], &[1 << 32, 1 << 32], &[1 << 62, 2], &[0, 4], &[4, 0]] {
        refused(File::with_tensor(tensor(b"b", sizes, 0, 32)).parse(), Code::InvalidModel, "");
    }
}

#[test]
fn rows_of_half_a_block() {
    // 64 elements are two blocks, but no row of 16 is one.
    refused(
        File::with_tensor(tensor(b"b", &[16, 4], 8, 32)).parse(),
        Code::InvalidModel,
        "whole blocks of Q8_0",
    );
}

#[test]
fn encodings_that_are_not_read() {
    let error = refused(File::with_tensor(tensor(b"b", &[256], 10, 32)).parse(), Code::Unsupported, "Q2_K");
    assert_eq!(error.location().column.as_deref(), Some("b"));
    refused(File::with_tensor(tensor(b"b", &[256], 4, 32)).parse(), Code::Unsupported, "number 4");
    refused(File::with_tensor(tensor(b"b", &[256], u32::MAX, 32)).parse(), Code::Unsupported, "number");
}

#[test]
fn offsets_out_of_the_file() {
    for offset in [64, 1 << 40, u64::MAX - 31] {
        refused(
            File::with_tensor(tensor(b"b", &[8], 0, offset)).parse(),
            Code::InvalidModel,
            "inside the file",
        );
    }
    refused(File::with_tensor(tensor(b"b", &[8], 0, 33)).parse(), Code::InvalidModel, "no multiple of 32");
}

#[test]
fn tensors_over_each_other() {
    refused(File::with_tensor(tensor(b"b", &[8], 0, 0)).parse(), Code::InvalidModel, "overlaps");
    let mut file = File::with_tensor(tensor(b"b", &[8], 0, 32));
    file.tensors[0] = tensor(b"a", &[9], 0, 0);
    refused(file.parse(), Code::InvalidModel, "overlaps");
}

#[test]
fn a_tensor_twice() {
    refused(File::with_tensor(tensor(b"a", &[8], 0, 32)).parse(), Code::InvalidModel, "two tensors");
}

/// Keys that the metadata of a model may have, each with a value that would change the numbers.
#[test]
fn options_that_are_not_implemented() {
    let f32s = |x: f32| x.to_le_bytes().to_vec();
    let cases = [
        pair("split.count", 2, &3u16.to_le_bytes()),
        pair("llama.expert_count", 4, &u32s(&[8])),
        pair("llama.attn_logit_softcapping", 6, &f32s(50.0)),
        pair("llama.logit_scale", 6, &f32s(0.5)),
        pair("llama.attention.max_alibi_bias", 6, &f32s(8.0)),
    ];
    for case in cases {
        let gguf = File::with_pair(case).parse().unwrap();
        let error = refused(Config::from_gguf(&gguf), Code::Unsupported, "is not implemented");
        assert!(gguf.metadata().contains_key(error.location().column.as_deref().unwrap()));
    }
    let mut other = File::valid();
    other.pairs[0] = pair("general.architecture", 8, &string(b"mamba"));
    refused(Config::from_gguf(&other.parse().unwrap()), Code::Unsupported, "mamba");
    other.pairs[0] = pair("general.architecture", 4, &u32s(&[1]));
    refused(Config::from_gguf(&other.parse().unwrap()), Code::InvalidModel, "expected a string");
    refused(Config::from_gguf(&File::valid().parse().unwrap()), Code::InvalidModel, "the key is missing");
}
