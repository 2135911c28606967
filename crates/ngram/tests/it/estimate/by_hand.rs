//! Three sentences, worked out on paper.
//!
//! ```text
//! <s> a b </s>    <s> a c </s>    <s> a b </s>
//! ```
//! Unigrams of a model of a higher order have the adjusted counts a 1 (after `<s>`), b 1, c 1 (after a),
//! `</s>` 2 (after b, c), 5 in all. Nothing has count 3, so there is no closed form and the fallback discounts
//! 1/2, 1, 3/2 hold. What they leave over, (3 · 1/2 + 1) / 5 = 1/2, is spread over 5 words (`<unk>`, `</s>`,
//! a, b, c), 1/10 each: p(a) = p(b) = p(c) = (1 − 1/2)/5 + 1/10 = 1/5, p(`</s>`) = (2 − 1)/5 + 1/10 = 3/10.

use gristmill_core::Code;
use gristmill_ngram::estimate::{FALLBACK_DISCOUNTS, Options};

use super::{estimate, rows};

const TEXT: &str = "a b\na c\na b\n";

fn check(order: usize, options: Options, expected: &[(&str, f64, f64)]) {
    let estimate = estimate(TEXT, Options { order, ..options }).unwrap();
    let got: Vec<_> = (1..=order).flat_map(|n| rows(&estimate, n)).collect();
    let mut got: Vec<_> = got.iter().map(|(words, p, b)| (words.as_str(), p, b)).collect();
    let mut expected = expected.to_vec();
    got.sort_by_key(|row| row.0);
    expected.sort_by_key(|row| row.0);
    assert_eq!(got.iter().map(|r| r.0).collect::<Vec<_>>(), expected.iter().map(|r| r.0).collect::<Vec<_>>());
    for ((words, p, b), (_, expected_p, expected_b)) in got.iter().zip(expected) {
        assert!((10f64.powf(f64::from(**p)) - expected_p).abs() < 1e-6, "p({words}) {p} {expected_p}");
        assert!((10f64.powf(f64::from(**b)) - expected_b).abs() < 1e-6, "backoff({words}) {b} {expected_b}");
    }
}

fn fallback() -> Options {
    Options { discount_fallback: Some(FALLBACK_DISCOUNTS), ..Options::default() }
}

#[test]
fn unigrams() {
    // Raw counts a 3, b 2, c 1, </s> 3, so n1 = 1, n2 = 1, n3 = 2, n4 = 0: Y = 1/3, D1 = 1 - 2/3 = 1/3,
    // D2 = 2 - 3/3 * 2/1 = 0, D3 = 3. Left over are (3 + 0 + 1/3 + 3) / 9 = 19/27, a fifth for each word.
    let share = 19.0 / 135.0;
    let expected = [
        ("<unk>", share, 1.0),
        ("<s>", 1.0, 1.0),
        ("</s>", share, 1.0),
        ("a", share, 1.0),
        ("b", 2.0 / 9.0 + share, 1.0),
        ("c", 2.0 / 27.0 + share, 1.0),
    ];
    check(1, fallback(), &expected);
}

// Bigrams: <s> a 3, a b 2, a c 1, b </s> 2, c </s> 1, so n1 = 2, n2 = 2, n3 = 1, n4 = 0: Y = 2/6 = 1/3,
// D1 = 1 - 2/3 * 2/2 = 1/3, D2 = 2 - 3/3 * 1/2 = 3/2, D3 = 3.

#[test]
fn bigrams() {
    let expected = [
        ("<unk>", 0.1, 1.0),
        ("<s>", 1.0, 1.0),
        ("</s>", 0.3, 1.0),
        ("a", 0.2, 11.0 / 18.0),
        ("b", 0.2, 0.75),
        ("c", 0.2, 1.0 / 3.0),
        // 3 of 3, all of it discounted.
        ("<s> a", 0.2, 1.0),
        // 2 and 1 of 3; (3/2 + 1/3) / 3 = 11/18 left over.
        ("a b", 0.5 / 3.0 + 11.0 / 18.0 * 0.2, 1.0),
        ("a c", 2.0 / 9.0 + 11.0 / 18.0 * 0.2, 1.0),
        ("b </s>", 0.25 + 0.75 * 0.3, 1.0),
        ("c </s>", 2.0 / 3.0 + 0.3 / 3.0, 1.0),
    ];
    check(2, fallback(), &expected);
}

#[test]
fn trigrams() {
    let expected = [
        ("<unk>", 0.1, 1.0),
        ("<s>", 1.0, 0.5),
        ("</s>", 0.3, 1.0),
        ("a", 0.2, 0.5),
        ("b", 0.2, 0.5),
        ("c", 0.2, 0.5),
        // Bigrams after <s> keep their raw count 3; the others have one distinct word before them.
        ("<s> a", 1.5 / 3.0 + 0.5 * 0.2, 0.5),
        ("a b", 0.5 / 2.0 + 0.5 * 0.2, 0.5),
        ("a c", 0.5 / 2.0 + 0.5 * 0.2, 0.5),
        ("b </s>", 0.5 + 0.5 * 0.3, 1.0),
        ("c </s>", 0.5 + 0.5 * 0.3, 1.0),
        ("<s> a b", 1.0 / 3.0 + 0.5 * 0.35, 1.0),
        ("<s> a c", 0.5 / 3.0 + 0.5 * 0.35, 1.0),
        ("a b </s>", 1.0 / 2.0 + 0.5 * 0.65, 1.0),
        ("a c </s>", 0.5 + 0.5 * 0.65, 1.0),
    ];
    check(3, fallback(), &expected);
}

#[test]
fn pruned_mass_goes_to_the_lower_order() {
    // Bigrams that occur once are out. After a, (3/2 + 1) / 3 is left over; after c everything is.
    let expected = [
        ("<unk>", 0.1, 1.0),
        ("<s>", 1.0, 1.0),
        ("</s>", 0.3, 1.0),
        ("a", 0.2, 5.0 / 6.0),
        ("b", 0.2, 0.75),
        ("c", 0.2, 1.0),
        ("<s> a", 0.2, 1.0),
        ("a b", 0.5 / 3.0 + 5.0 / 6.0 * 0.2, 1.0),
        ("b </s>", 0.25 + 0.75 * 0.3, 1.0),
    ];
    check(2, Options { prune: vec![0, 1], ..fallback() }, &expected);
}

#[test]
fn a_pruned_word_leaves_the_vocabulary() {
    // c occurs once. Its count of 1/5 joins what is left over: (2 · 1/2 + 1 + 1) / 5 = 3/5, over 4 words.
    let expected = [
        ("<unk>", 0.15, 1.0),
        ("<s>", 1.0, 1.0),
        ("</s>", 0.2 + 0.15, 1.0),
        ("a", 0.1 + 0.15, 5.0 / 6.0),
        ("b", 0.1 + 0.15, 0.75),
        ("<s> a", 0.25, 1.0),
        ("a b", 0.5 / 3.0 + 5.0 / 6.0 * 0.25, 1.0),
        ("b </s>", 0.25 + 0.75 * 0.35, 1.0),
    ];
    check(2, Options { prune: vec![1], ..fallback() }, &expected);
    let estimate = estimate(TEXT, Options { order: 2, prune: vec![1], ..fallback() }).unwrap();
    assert_eq!(estimate.trie.vocab().iter().collect::<Vec<_>>(), ["<unk>", "<s>", "</s>", "a", "b"]);
    assert_eq!((estimate.orders[0].distinct, estimate.orders[0].kept), (6, 5));
    assert_eq!((estimate.orders[1].distinct, estimate.orders[1].kept), (5, 3));
}

#[test]
fn a_padded_vocabulary_makes_the_unknown_cheaper() {
    let share = 19.0 / 2700.0;
    let expected = [
        ("<unk>", share, 1.0),
        ("<s>", 1.0, 1.0),
        ("</s>", share, 1.0),
        ("a", share, 1.0),
        ("b", 2.0 / 9.0 + share, 1.0),
        ("c", 2.0 / 27.0 + share, 1.0),
    ];
    check(1, Options { vocab_pad: Some(100), ..fallback() }, &expected);
}

#[test]
fn without_the_fallback_the_first_order_that_fails_is_named() {
    let e = estimate(TEXT, Options { order: 2, ..Options::default() }).err().unwrap();
    assert_eq!(e.code(), Code::DiscountFailed);
    assert!(e.message().contains("order 1") && e.message().contains("no 1-gram has adjusted count 3"), "{e}");
    assert!(e.hint_text().unwrap().contains("discount_fallback"), "{e}");
}
