//! `.gml` files with one field forged and all checksums right.

use gristmill_core::hash::hash64;
use gristmill_ngram::gml;
use gristmill_ngram::model::ModelMeta;
use serde_json::{Value, json};

use super::refused;
use crate::query::random_tables;

pub(super) fn valid() -> Vec<u8> {
    let mut bytes = Vec::new();
    gml::write(&random_tables(5, 3, 3), &ModelMeta::default(), &mut bytes).unwrap();
    bytes
}

/// A file taken apart.
pub(super) struct Parts {
    pub(super) header: Value,
    pub(super) sections: Vec<Vec<u8>>,
}

impl Parts {
    pub(super) fn valid() -> Self {
        let bytes = valid();
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        let header_end = 16 + u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
        let header = serde_json::from_slice(&bytes[16..header_end]).unwrap();
        let mut sections = Vec::new();
        let mut at = header_end + 8;
        while at < bytes.len() {
            let end = at + 8 + number(at);
            sections.push(bytes[at + 8..end].to_vec());
            at = end + 8;
        }
        assert_eq!(sections.len(), 4);
        Self { header, sections }
    }

    pub(super) fn seal(&self) -> Vec<u8> {
        let json = serde_json::to_vec(&self.header).unwrap();
        let mut bytes = b"\x89GML\r\n\x1a\n".to_vec();
        bytes.extend(1u32.to_le_bytes());
        bytes.extend((json.len() as u32).to_le_bytes());
        bytes.extend(json);
        let mut out = bytes.clone();
        out.extend(hash64(0, &bytes).to_le_bytes());
        for section in &self.sections {
            let mut bytes = (section.len() as u64).to_le_bytes().to_vec();
            bytes.extend(section);
            out.extend(&bytes);
            out.extend(hash64(0, &bytes).to_le_bytes());
        }
        out
    }
}

/// Changes a valid file and expects that it is refused.
#[track_caller]
fn forged(change: impl FnOnce(&mut Parts), expected: &str) {
    let mut parts = Parts::valid();
    change(&mut parts);
    refused(&parts.seal(), expected);
}

#[test]
fn a_file_taken_apart_and_sealed_is_valid() {
    let (a, b) = (gml::parse(&Parts::valid().seal()).unwrap(), gml::parse(&valid()).unwrap());
    assert_eq!((a.0.orders, a.1), (b.0.orders, b.1));
}

#[test]
fn version_unknown() {
    let mut bytes = valid();
    bytes[8] = 2;
    assert_eq!(refused(&bytes, "version 2").location().offset, Some(8));
}

#[test]
fn header_too_large() {
    let mut bytes = valid();
    bytes[12..16].fill(0xff);
    assert_eq!(refused(&bytes, "a header of").location().offset, Some(12));
    bytes[12..16].copy_from_slice(&(1u32 << 20).to_le_bytes());
    refused(&bytes, "ends inside the header");
}

#[test]
fn header_damaged() {
    let mut bytes = valid();
    bytes[20] ^= 1;
    refused(&bytes, "checksum of the header");
}

#[test]
fn header_is_no_header() {
    forged(|p| p.header = json!([1, 2]), "the header");
    forged(|p| p.header["surprise"] = json!(1), "unknown field");
    forged(|p| p.header["counts"] = json!([-1]), "the header");
    forged(|p| p.header["counts"] = json!("many"), "the header");
    forged(|p| p.header["counts"] = json!(null), "the header");
    forged(|p| p.header["words"] = json!(1e300), "the header");
}

#[test]
fn header_nested_too_deeply() {
    let nest = "[".repeat(100_000);
    let mut bytes = valid()[..8].to_vec();
    bytes.extend(1u32.to_le_bytes());
    bytes.extend((nest.len() as u32).to_le_bytes());
    bytes.extend(nest.as_bytes());
    let sum = hash64(0, &bytes);
    bytes.extend(sum.to_le_bytes());
    refused(&bytes, "the header");
}

#[test]
fn order_zero_or_too_high() {
    forged(|p| p.header["counts"] = json!([]), "order 0");
    forged(|p| p.header["counts"] = json!(vec![1; 11]), "order 11");
}

#[test]
fn counts_too_large() {
    forged(|p| p.header["words"] = json!(u64::MAX), "cannot be");
    forged(|p| p.header["words"] = json!(1u64 << 33), "cannot be");
    forged(|p| p.header["words"] = json!(2), "cannot be");
    forged(|p| p.header["counts"][2] = json!(u64::MAX), "cannot be");
    forged(|p| p.header["counts"][1] = json!(1u64 << 40), "cannot be");
}

#[test]
fn counts_that_differ_from_the_tables() {
    forged(|p| p.header["words"] = json!(p.header["words"].as_u64().unwrap() + 1), "ends too early");
    forged(|p| p.header["words"] = json!(p.header["words"].as_u64().unwrap() - 1), "longer than its content");
    for order in 0..3 {
        for by in [-1, 1] {
            let change = |p: &mut Parts| {
                let count = p.header["counts"][order].as_i64().unwrap();
                p.header["counts"][order] = json!(count + by);
            };
            forged(change, "");
        }
    }
}

#[test]
fn section_length_beyond_the_file() {
    let bytes = valid();
    let first = 16 + u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize + 8;
    for length in [u64::MAX, 1 << 62, 1 << 40, bytes.len() as u64] {
        let mut forged = bytes.clone();
        forged[first..first + 8].copy_from_slice(&length.to_le_bytes());
        refused(&forged, "ends inside the vocabulary");
    }
}

#[test]
fn section_damaged() {
    let bytes = valid();
    let last = bytes.len() - 9;
    let mut forged = bytes.clone();
    forged[last] ^= 0x40;
    refused(&forged, "the checksum of an n-gram table is wrong");
}

#[test]
fn word_that_is_not_utf8() {
    forged(|p| p.sections[0][1] = 0xff, "not UTF-8");
}

#[test]
fn word_twice_or_special() {
    forged(|p| p.sections[0].copy_within(0..3, 3), "comes twice");
    let special = |p: &mut Parts| p.sections[0] = b"\x03<s>\x02w1\x02w2".to_vec();
    forged(special, "comes twice");
}

#[test]
fn word_longer_than_the_section() {
    forged(|p| p.sections[0][0] = 0x7f, "ends too early");
    let endless = |p: &mut Parts| p.sections[0].splice(0..1, [0xff; 9]).for_each(drop);
    forged(endless, "");
    let overflow = |p: &mut Parts| p.sections[0].splice(0..1, [0xff; 10]).for_each(drop);
    forged(overflow, "more than 64 bits");
}

#[test]
fn word_id_out_of_range() {
    forged(|p| p.sections[1][0] = 0x7f, "out of range");
}

#[test]
fn contexts_that_do_not_add_up() {
    forged(|p| p.sections[2][0] += 1, "do not add up");
    // Two counts whose sum wraps around.
    let wrap = |p: &mut Parts| {
        let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        p.sections[2].splice(0..2, most.into_iter().chain(most)).for_each(drop);
    };
    forged(wrap, "do not add up");
}

#[test]
fn numbers_that_are_no_logarithms() {
    for bits in [f32::NAN, f32::INFINITY, 0.25] {
        let change = |p: &mut Parts| {
            let end = p.sections[3].len();
            p.sections[3][end - 4..].copy_from_slice(&bits.to_le_bytes());
        };
        forged(change, "not the logarithm");
    }
    let backoff = |p: &mut Parts| {
        let end = p.sections[2].len();
        p.sections[2][end - 4..].copy_from_slice(&f32::NEG_INFINITY.to_le_bytes());
    };
    forged(backoff, "not finite");
}
