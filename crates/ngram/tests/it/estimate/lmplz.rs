//! The same text through `lmplz` and through us: n-gram by n-gram.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use gristmill_ngram::estimate::{Estimate, FALLBACK_DISCOUNTS, Options};

use super::{estimate, rows};
use crate::peers::lmplz;
use crate::text::{brown, moby_dick};

/// What `lmplz` prints differs in the last digits of its single precision.
const TOLERANCE: f32 = 1e-5;

fn arpa(lmplz: &Path, text: &str, args: &[&str]) -> String {
    let mut child = Command::new(lmplz)
        .args(args)
        .args(["-S", "500M", "-T"])
        .arg(std::env::temp_dir().join("lmplz-"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(text.as_bytes()).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Compares every line of an ARPA file with the tables, in both directions.
fn assert_equal(estimate: &Estimate, arpa: &str) {
    let order = estimate.trie.order();
    let mut ours: HashMap<String, (f32, f32)> =
        (1..=order).flat_map(|n| rows(estimate, n)).map(|(words, p, b)| (words, (p, b))).collect();
    let mut headers = 0;
    let mut compared = 0;
    for line in arpa.lines() {
        let fields: Vec<_> = line.split('\t').collect();
        match fields[..] {
            [count] if count.starts_with("ngram ") => {
                let (n, count) = count["ngram ".len()..].split_once('=').unwrap();
                let rows = estimate.trie.len(n.parse().unwrap());
                assert_eq!(rows, count.parse::<usize>().unwrap(), "number of {n}-grams");
                headers += 1;
            }
            [p, words, ref rest @ ..] => {
                let (our_p, our_b) = ours.remove(words).unwrap_or_else(|| panic!("we have no {words:?}"));
                let b = rest.first().map_or(0.0, |b| b.parse::<f32>().unwrap());
                let p = p.parse::<f32>().unwrap();
                assert!((p - our_p).abs() < TOLERANCE, "p({words}): lmplz {p}, ours {our_p}");
                assert!((b - our_b).abs() < TOLERANCE, "backoff({words}): lmplz {b}, ours {our_b}");
                compared += 1;
            }
            _ => {}
        }
    }
    assert_eq!(headers, order);
    assert!(compared > 0 && ours.is_empty(), "lmplz has no {:?}", ours.keys().next());
}

#[test]
fn the_brown_corpus_at_order_5() {
    let (Some(lmplz), Some(text)) = (lmplz(), brown()) else { return };
    let estimate = estimate(&text, Options::default()).unwrap();
    assert!(estimate.tokens > 1_000_000);
    assert_equal(&estimate, &arpa(&lmplz, &text, &["-o", "5"]));
}

#[test]
fn every_order_pruning_padding_and_fallback() {
    let Some(lmplz) = lmplz() else { return };
    let lines = |n| moby_dick().split_inclusive('\n').take(n).collect::<String>();
    let base = Options { discount_fallback: Some(FALLBACK_DISCOUNTS), ..Options::default() };
    let cases: [(usize, &[&str], Options); 9] = [
        (usize::MAX, &["-o", "1"], Options { order: 1, ..base.clone() }),
        (usize::MAX, &["-o", "2"], Options { order: 2, ..base.clone() }),
        (usize::MAX, &["-o", "3"], Options { order: 3, ..base.clone() }),
        (usize::MAX, &["-o", "4"], Options { order: 4, ..base.clone() }),
        (usize::MAX, &["-o", "6"], Options { order: 6, ..base.clone() }),
        (
            5000,
            &["-o", "4", "--prune", "0", "0", "1", "2"],
            Options { order: 4, prune: vec![0, 0, 1, 2], ..base.clone() },
        ),
        (
            usize::MAX,
            &["-o", "3", "--prune", "2", "3"],
            Options { order: 3, prune: vec![2, 3], ..base.clone() },
        ),
        (
            2000,
            &["-o", "3", "--vocab_pad", "1000000"],
            Options { order: 3, vocab_pad: Some(1_000_000), ..base.clone() },
        ),
        (3, &["-o", "5"], base.clone()),
    ];
    for (n, args, options) in cases {
        let text = lines(n);
        let estimate = estimate(&text, options).unwrap();
        let args = [args, &["--discount_fallback", "0.5", "1", "1.5"]].concat();
        assert_equal(&estimate, &arpa(&lmplz, &text, &args));
    }
}

#[test]
fn every_short_prefix_of_a_text() {
    // Short texts end in every way that a text can: in a new word, in an old one, in an empty sentence.
    let Some(lmplz) = lmplz() else { return };
    let words = ["the", "mill", "turns", "the", "mill", "the", "stream", "", "turns", "mill", "stream"];
    for n in 1..40 {
        let mut text = String::new();
        for i in 0..n {
            let word = words[(i * i + i / 3) % words.len()];
            text += word;
            text += if word.is_empty() || i % 5 == 4 { "\n" } else { " " };
        }
        text += "\n";
        let options = Options { order: 3, discount_fallback: Some(FALLBACK_DISCOUNTS), ..Options::default() };
        let estimate = estimate(&text, options).unwrap();
        assert_equal(&estimate, &arpa(&lmplz, &text, &["-o", "3", "--discount_fallback", "0.5", "1", "1.5"]));
    }
}

#[test]
fn the_last_new_word_is_tallied_as_lmplz_does() {
    // The n-grams that end in the word with the highest id are the last of all; here they occur three times
    // but after one word only. See `closing_rows`.
    let Some(lmplz) = lmplz() else { return };
    let text = format!("{}{}", moby_dick(), "and of the narwhale\n".repeat(3));
    for order in 2..=5 {
        let estimate = estimate(&text, Options { order, ..Options::default() }).unwrap();
        assert_equal(&estimate, &arpa(&lmplz, &text, &["-o", &order.to_string()]));
    }
}
