//! ARPA files with one mistake each.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{refused, small};

pub(super) fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// Replaces a part of `pruned.arpa` and expects an error at a line, from 1.
#[track_caller]
fn refuses(from: &str, to: &str, line: u64, expected: &str) {
    let text = String::from_utf8(small("pruned.arpa")).unwrap();
    assert_eq!(text.matches(from).count(), 1, "{from:?}");
    let forged = text.replace(from, to);
    for bytes in [forged.as_bytes(), &gzipped(forged.as_bytes())] {
        let error = refused(bytes, expected);
        assert!(error.message().contains(&format!("line {line}:")), "{error}");
        assert_eq!(error.location().row, Some(line - 1), "{error}");
    }
}

#[test]
fn header_missing() {
    refuses("\\data\\", "\\date\\", 2, "expected \\data\\");
    refuses("# Suffixes", "Suffixes", 1, "expected \\data\\");
}

#[test]
fn counts_wrong() {
    refuses("ngram 2=5", "ngram 2=4", 21, "expected \\3-grams:");
    refuses("ngram 2=5", "ngram 2=6", 22, "not the log10");
    refuses("ngram 2=5", "ngram 2=18446744073709551615", 22, "not the log10");
    refuses("ngram 4=2", "ngram 4=99999999999", 32, "not the log10");
    refuses("ngram 2=5", "ngram 2=18446744073709551616", 4, "expected \"ngram 2=\"");
    refuses("ngram 2=5", "ngram 3=5", 4, "expected \"ngram 2=\"");
    refuses("ngram 2=5", "ngram 2=-5", 4, "expected \"ngram 2=\"");
    refuses("ngram 2=5", "bigrams 5", 4, "expected \"ngram 2=\"");
}

#[test]
fn order_too_high() {
    let more: String = (5..=11).map(|n| format!("\nngram {n}=1")).collect();
    refuses("ngram 4=2", &format!("ngram 4=2{more}"), 13, "the order is above 10");
}

#[test]
fn sections_out_of_turn() {
    refuses("\\2-grams:", "\\3-grams:", 16, "expected \\2-grams:");
    refuses("\\2-grams:", "", 17, "expected \\2-grams:");
    refuses("\\end\\", "\\5-grams:", 33, "expected \\end\\");
    refuses("\\end\\", "\\end\\\nmore", 34, "text after \\end\\");
}

#[test]
fn numbers_that_are_none() {
    refuses("-0.35\t<s> a", "zero\t<s> a", 17, "\"zero\" is not the log10");
    refuses("-0.35\t<s> a", "0.35\t<s> a", 17, "\"0.35\" is not the log10");
    refuses("-0.35\t<s> a", "NaN\t<s> a", 17, "\"NaN\" is not the log10");
    refuses("-0.35\t<s> a", "inf\t<s> a", 17, "\"inf\" is not the log10");
    refuses("a b\t-0.125", "a b\tNaN", 18, "\"NaN\" is not a finite backoff");
    refuses("a b\t-0.125", "a b\t-inf", 18, "\"-inf\" is not a finite backoff");
    refuses("a b\t-0.125", "a b\t1e39", 18, "\"1e39\" is not a finite backoff");
    refuses("a b\t-0.125", "a b\t-0.125\t7", 18, "after the end");
    refuses("-0.1\ta b c d", "-0.1\ta b c d\t-0.5", 30, "highest order has a backoff");
}

#[test]
fn words_too_few_or_unknown() {
    refuses("-0.2\ta b c\t-0.11", "-0.2\ta b\t-0.11", 24, "");
    refuses("-0.2\ta b c\t-0.11", "-0.2\ta b", 24, "fewer than 3 words");
    refuses("-0.2\ta b c\t-0.11", "-0.2\ta b mill\t-0.11", 24, "\"mill\" is not among the unigrams");
}

#[test]
fn an_ngram_twice() {
    let twice = |from: &str, to: &str, expected: &str| {
        let text = String::from_utf8(small("pruned.arpa")).unwrap().replace(from, to);
        refused(text.as_bytes(), expected);
    };
    twice("-0.45\td a", "-0.45\ta b", "\"a b\" comes twice");
    twice("-0.6\tb\t", "-0.6\ta\t", "\"a\" comes twice");
}

#[test]
fn context_missing() {
    let text = String::from_utf8(small("pruned.arpa")).unwrap().replace("-0.22\td a b", "-0.22\tb a b");
    let error = gristmill_ngram::model::Model::from_bytes(text.as_bytes()).unwrap_err();
    assert!(error.message().contains("without its context"), "{error}");
}

#[test]
fn sentence_marker_missing() {
    let text = String::from_utf8(small("pruned.arpa")).unwrap().replace("<s>", "s");
    let error = gristmill_ngram::model::Model::from_bytes(text.as_bytes()).unwrap_err();
    assert!(error.message().contains("no unigram for <s>"), "{error}");
}

#[test]
fn not_utf8() {
    let mut bytes = small("pruned.arpa");
    let at = bytes.windows(5).position(|w| w == b"-0.6\t").unwrap() + 5;
    bytes[at] = 0xe4;
    let error = refused(&bytes, "line 12: not UTF-8");
    assert!(error.hint_text().is_some_and(|hint| hint.contains("iconv")));
}

#[test]
fn a_line_without_end() {
    let mut bytes = b"\\data\\\nngram 1=".to_vec();
    bytes.resize(3 << 20, b'1');
    refused(&bytes, "line 2: a line too long");
    // The same, small on disk: a thousandfold larger when unpacked, but no more is unpacked than needed.
    refused(&gzipped(&bytes), "line 2: a line too long");
    refused(&gzipped(&vec![b'\n'; 1 << 24]), "ends before \\data\\");
}

#[test]
fn gzip_damaged() {
    let mut bytes = gzipped(&small("pruned.arpa"));
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    refused(&bytes, "");
    refused(&[0x1f, 0x8b, 8, 0], "");
    refused(&gzipped(&small("pruned.probing")), "line 1");
}
