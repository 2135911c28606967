//! Threads, memory, disk, and what is refused.

use std::process::Command;

use gristmill_core::{CancelToken, Code, Control};
use gristmill_ngram::estimate::{Estimator, FALLBACK_DISCOUNTS, Options};
use gristmill_ngram::model::ModelMeta;
use gristmill_ngram::vocab::{BOS, EOS};
use gristmill_ngram::{arpa, gml};

use super::{assert_identical, estimate};
use crate::text::brown;

/// Words by a made-up but skewed law: `n` of them, 15 a line.
fn text(n: usize) -> String {
    let mut state = 7u64;
    let mut text = String::new();
    for i in 0..n {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let uniform = (state >> 11) as f64 / (1u64 << 53) as f64;
        text += &format!("w{}", (1500f64.powf(uniform) - 1.0) as u32);
        text.push(if i % 15 == 14 { '\n' } else { ' ' });
    }
    text
}

fn small(memory_limit: usize) -> Options {
    Options { memory_limit, discount_fallback: Some(FALLBACK_DISCOUNTS), ..Options::default() }
}

#[test]
fn the_result_depends_neither_on_threads_nor_on_memory() {
    let text = text(60_000);
    for prune in [vec![], vec![0, 1, 2]] {
        let whole = estimate(&text, Options { threads: 1, prune: prune.clone(), ..small(1 << 30) }).unwrap();
        assert_eq!(whole.spilled, 0);
        for threads in 1..=3 {
            for memory in [200 << 10, 600 << 10, 1 << 30] {
                let options = Options { threads, prune: prune.clone(), ..small(memory) };
                let other = estimate(&text, options).unwrap();
                assert_eq!(other.spilled > 1, memory < 1 << 20, "{} spills at {memory}", other.spilled);
                assert_identical(&whole, &other);
            }
        }
    }
}

#[test]
fn a_sentence_longer_than_memory_is_one_sentence() {
    let text = text(50_000).replace('\n', " ");
    let spilled = estimate(&text, small(200 << 10)).unwrap();
    assert!(spilled.spilled > 5);
    assert_eq!(spilled.sentences, 1);
    assert_identical(&estimate(&text, small(1 << 30)).unwrap(), &spilled);
}

#[test]
fn real_text_spilled_over_many_runs_is_the_same() {
    let Some(text) = brown() else { return };
    let spilled = estimate(&text, Options { memory_limit: 4 << 20, ..Options::default() }).unwrap();
    assert!(spilled.spilled > 10, "{}", spilled.spilled);
    assert_identical(&estimate(&text, Options::default()).unwrap(), &spilled);
}

/// Writes the model too: whatever the place of its columns, the file is the same.
#[test]
fn files_do_not_depend_on_where_the_model_was_made() {
    let text = text(40_000);
    let bytes = |memory| {
        let estimate = estimate(&text, Options { prune: vec![0, 0, 1], ..small(memory) }).unwrap();
        let (mut gml, mut arpa) = (Vec::new(), Vec::new());
        let sha256 = gml::write(&estimate.trie, &ModelMeta::default(), &mut gml).unwrap();
        arpa::write(&estimate.trie, &mut arpa).unwrap();
        let tables = estimate.trie.to_tables();
        let mut from_tables = (Vec::new(), Vec::new());
        assert_eq!(gml::write(&tables, &ModelMeta::default(), &mut from_tables.0).unwrap(), sha256);
        arpa::write(&tables, &mut from_tables.1).unwrap();
        assert!(from_tables == (gml.clone(), arpa.clone()), "a trie and its tables give the same files");
        (gml, arpa)
    };
    assert!(bytes(200 << 10) == bytes(1 << 30));
}

/// Estimates in a process of its own and looks at the peak of its memory.
#[test]
#[cfg(target_os = "linux")]
fn memory_stays_within_the_limit_from_the_first_word_to_the_file() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "estimate::limits::in_little_memory", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "looks at the whole process, so the test above gives it one"]
fn in_little_memory() {
    let peak = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches("kB").trim().parse::<usize>().unwrap() << 10
    };
    let before = peak();
    let limit = 16 << 20;
    let mut estimator = Estimator::new(Options { threads: 2, ..small(limit) }).unwrap();
    let mut state = 7u64;
    let mut word = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let uniform = (state >> 11) as f64 / (1u64 << 53) as f64;
        (20_000f64.powf(uniform) - 1.0) as u32
    };
    for _ in 0..100_000 {
        let sentence: Vec<_> =
            (0..15).map(|_| estimator.vocab_mut().intern(&format!("w{}", word()))).collect();
        estimator.add_sentence(&sentence).unwrap();
    }
    let estimate = estimator.finish(&Control::default()).unwrap();
    let ngrams: usize = (1..=5).map(|n| estimate.trie.len(n)).sum();
    assert!(ngrams * 24 > 5 * limit, "{ngrams} n-grams would fit into the limit");
    let file = tempfile::NamedTempFile::new().unwrap();
    gml::save(&estimate.trie, &ModelMeta::default(), file.path()).unwrap();
    let used = peak() - before;
    // The buffers of eighteen columns, of sorting and of the file come on top.
    assert!(used < limit + (24 << 20), "{} MB were used, the limit is {} MB", used >> 20, limit >> 20);
}

#[test]
fn every_order_survives_an_empty_sentence() {
    for order in 1..=6 {
        let estimate = estimate("\n\n", Options { order, ..small(1 << 20) }).unwrap();
        assert_eq!(estimate.trie.order(), order);
        assert_eq!(estimate.sentences, 2);
        let lengths: Vec<_> = (1..=order).map(|n| estimate.trie.len(n)).collect();
        assert_eq!(lengths, [3, 1, 0, 0, 0, 0][..order]);
    }
}

#[test]
fn options_out_of_range_are_refused() {
    let base = Options::default();
    for (name, options) in [
        ("order", Options { order: 0, ..base.clone() }),
        ("order", Options { order: 7, ..base.clone() }),
        ("prune", Options { order: 2, prune: vec![0, 0, 1], ..base.clone() }),
        ("prune", Options { prune: vec![1, 0], ..base.clone() }),
        ("discount_fallback", Options { discount_fallback: Some([0.5, 2.5, 1.0]), ..base.clone() }),
        ("discount_fallback", Options { discount_fallback: Some([f64::NAN, 1.0, 1.0]), ..base.clone() }),
    ] {
        let e = Estimator::new(options).err().expect(name);
        assert_eq!((e.code(), e.location().column.as_deref()), (Code::InvalidArgument, Some(name)), "{e}");
    }
}

#[test]
fn no_sentence_is_no_model() {
    let e = Estimator::new(Options::default()).unwrap().finish(&Control::default()).err().unwrap();
    assert_eq!(e.code(), Code::EmptyInput);
}

#[test]
fn words_that_cannot_be_in_a_sentence_are_refused() {
    let mut estimator = Estimator::new(Options::default()).unwrap();
    for word in [BOS, EOS, 3, u32::MAX] {
        let e = estimator.add_sentence(&[word]).unwrap_err();
        assert_eq!((e.code(), e.location().row), (Code::InvalidValue, Some(0)), "{e}");
    }
}

#[test]
fn too_little_memory_says_how_much_is_needed() {
    let e = estimate("a b c\n", Options { memory_limit: 1000, ..Options::default() }).err().unwrap();
    assert_eq!(e.code(), Code::OutOfMemory);
    let needed: usize = e
        .hint_text()
        .unwrap()
        .split_whitespace()
        .find_map(|word| word.parse().ok())
        .expect("the hint names a number of bytes");
    assert!(estimate("a b c\n", small(needed + 1000)).is_ok());
}

#[test]
fn an_absent_temporary_directory_matters_only_when_it_is_needed() {
    let options = |memory| Options { temp_dir: Some("/no/such/place".into()), ..small(memory) };
    assert!(estimate(&text(20_000), options(1 << 30)).is_ok());
    let e = estimate(&text(20_000), options(200 << 10)).err().unwrap();
    assert_eq!(e.code(), Code::NotFound);
    assert!(e.to_string().contains("/no/such/place"), "{e}");
}

/// Runs the next test again in a shell that lets no file grow beyond a few blocks.
#[test]
#[cfg(unix)]
fn a_full_disk_is_said_to_be_full() {
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "estimate::limits::on_a_full_disk", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
}

#[test]
#[ignore = "needs a limit on file sizes, which the test above sets"]
fn on_a_full_disk() {
    let e = estimate(&text(60_000), small(200 << 10)).err().unwrap();
    assert_eq!(e.code(), Code::StorageFull);
    assert!(e.hint_text().unwrap().contains("temp_dir"), "{e}");
}

#[test]
fn a_stop_is_heeded() {
    let token = CancelToken::default();
    let mut estimator = Estimator::new(small(1 << 30)).unwrap();
    estimator.add_sentence(&[]).unwrap();
    token.cancel();
    let e = estimator.finish(&Control::with_cancel(token)).err().unwrap();
    assert_eq!(e.code(), Code::Aborted);
}
