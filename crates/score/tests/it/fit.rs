use gristmill_core::{Code, Control};
use gristmill_ngram::estimate::{Estimator, FALLBACK_DISCOUNTS, Options};
use gristmill_ngram::model::Model;
use gristmill_ngram::vocab::UNK;
use gristmill_ngram::{arpa, gml};
use gristmill_score::jobs::{DiscountFallback, FitOptions, FitSummary, Reason, SourceOptions, fit};

use crate::common::{Dir, rows};

fn run(options: FitOptions) -> Result<FitSummary, gristmill_core::Error> {
    fit::run(options, &Control::default())
}

fn options(dir: &Dir, output: &str) -> FitOptions {
    FitOptions {
        order: 3,
        normalizer: "whitespace/1".into(),
        threads: Some(2),
        discount_fallback: Some(DiscountFallback::Published(true)),
        ..FitOptions::new(dir.at("corpus").as_str().into(), dir.at(output))
    }
}

fn corpus(dir: &Dir) {
    dir.jsonl("corpus/a.jsonl", rows("x", 0, 700));
    dir.jsonl("corpus/b.jsonl.gz", rows("y", 0, 300));
}

/// The estimator fed word by word, in the order of the documents.
fn by_hand(least: u32) -> gristmill_ngram::tables::Tables {
    let texts: Vec<String> =
        rows("x", 0, 700).chain(rows("y", 0, 300)).map(|r| r["text"].as_str().unwrap().to_owned()).collect();
    let options = Options { order: 3, discount_fallback: Some(FALLBACK_DISCOUNTS), ..Options::default() };
    let mut estimator = Estimator::new(options.clone()).unwrap();
    if least > 1 {
        let mut vocab = gristmill_ngram::vocab::Vocab::new();
        let holds = |word: &str| texts.iter().filter(|t| t.split_whitespace().any(|w| w == word)).count();
        let mut seen = std::collections::HashSet::new();
        for word in texts.iter().flat_map(|t| t.split_whitespace()) {
            if seen.insert(word) && holds(word) >= least as usize {
                vocab.intern(word);
            }
        }
        estimator = Estimator::with_vocab(options, vocab).unwrap();
    }
    for text in &texts {
        let ids: Vec<_> = text
            .split_whitespace()
            .map(|w| match least {
                1 => estimator.vocab_mut().intern(w),
                _ => estimator.vocab().get(w).unwrap_or(UNK),
            })
            .collect();
        estimator.add_sentence(&ids).unwrap();
    }
    estimator.finish(&Control::default()).unwrap().trie.to_tables()
}

fn assert_same_tables(left: &gristmill_ngram::tables::Tables, right: &gristmill_ngram::tables::Tables) {
    assert_eq!(left.vocab.iter().collect::<Vec<_>>(), right.vocab.iter().collect::<Vec<_>>());
    assert!(left.orders == right.orders, "the n-grams differ");
}

#[test]
fn a_model_is_that_of_all_documents_in_order() {
    let dir = Dir::new();
    corpus(&dir);
    let summary = run(options(&dir, "m.gml")).unwrap();
    let expected = by_hand(1);
    let (tables, meta) = gml::load(dir.path("m.gml")).unwrap();
    assert_same_tables(&tables, &expected);
    assert_eq!(meta.normalizer.unwrap().name, "whitespace/1");
    assert_eq!(meta.metadata["corpus"]["counts"]["documents"], 1000);

    assert_eq!(summary.counts.read, summary.counts.scored);
    assert_eq!(summary.counts.scored.documents, 1000);
    assert_eq!(summary.vocabulary, expected.vocab.len() as u64);
    assert_eq!(summary.ngrams, expected.orders.iter().map(|o| o.len() as u64).collect::<Vec<_>>());
    let model = Model::load(dir.path("m.gml")).unwrap();
    assert_eq!(model.sha256(), Some(summary.sha256.as_str()));
}

#[test]
fn rare_words_become_one_unknown_word() {
    let dir = Dir::new();
    corpus(&dir);
    let all = run(options(&dir, "all.gml")).unwrap();
    let summary = run(FitOptions { min_documents: 2, ..options(&dir, "m.gml") }).unwrap();
    assert!(summary.vocabulary < all.vocabulary);
    assert_same_tables(&gml::load(dir.path("m.gml")).unwrap().0, &by_hand(2));
}

#[test]
fn the_extension_chooses_the_form() {
    let dir = Dir::new();
    corpus(&dir);
    run(options(&dir, "m.gml")).unwrap();
    let expected = gml::load(dir.path("m.gml")).unwrap().0;
    for name in ["m.arpa", "m.arpa.gz"] {
        let summary = run(options(&dir, name)).unwrap();
        let tables = arpa::load(dir.path(name)).unwrap();
        assert_eq!(tables.orders[2].len() as u64, summary.ngrams[2]);
        assert_eq!(tables.orders[0].prob.len(), expected.orders[0].prob.len());
        let model = Model::load(dir.path(name)).unwrap();
        assert_eq!(model.sha256(), Some(summary.sha256.as_str()), "{name}");
    }
}

#[test]
fn threads_and_memory_do_not_change_a_byte() {
    let dir = Dir::new();
    corpus(&dir);
    let bytes = |threads, memory: &str, min_documents| {
        let memory = serde_json::from_value(memory.into()).unwrap();
        run(FitOptions { threads: Some(threads), memory, min_documents, ..options(&dir, "m.gml") }).unwrap();
        std::fs::read(dir.path("m.gml")).unwrap()
    };
    for min_documents in [1, 2] {
        let one = bytes(1, "2GB", min_documents);
        assert!(one == bytes(2, "2GB", min_documents), "2 threads");
        assert!(one == bytes(8, "1MB", min_documents), "8 threads, little memory");
    }
}

#[test]
fn what_has_no_text_is_counted_and_left_out() {
    let dir = Dir::new();
    let mut lines: Vec<_> = rows("x", 0, 300).collect();
    lines[3]["text"] = serde_json::Value::Null;
    lines[4]["text"] = "  ".into();
    lines[5]["n"] = 1_000_000.into();
    dir.jsonl("corpus/a.jsonl", lines);
    let source = SourceOptions { filter: Some("n < 1000000".into()), ..dir.at("corpus").as_str().into() };
    let summary = run(FitOptions { corpus: source, ..options(&dir, "m.gml") }).unwrap();
    let dropped = |r| summary.counts.dropped[&r].documents;
    assert_eq!((dropped(Reason::NullText), dropped(Reason::EmptyText), dropped(Reason::Filtered)), (1, 1, 1));
    assert_eq!((summary.counts.read.documents, summary.counts.scored.documents), (300, 297));
}

#[test]
fn a_corpus_without_text_is_an_error() {
    let dir = Dir::new();
    dir.jsonl("corpus/a.jsonl", [serde_json::json!({"text": null}), serde_json::json!({"text": ""})]);
    assert_eq!(run(options(&dir, "m.gml")).unwrap_err().code(), Code::EmptyInput);
    assert!(!dir.path("m.gml").exists());
}

#[test]
fn too_little_text_for_discounts_says_so() {
    let dir = Dir::new();
    dir.jsonl("corpus/a.jsonl", [serde_json::json!({"text": "only a few words"})]);
    let e = run(FitOptions { discount_fallback: None, ..options(&dir, "m.gml") }).unwrap_err();
    assert_eq!(e.code(), Code::DiscountFailed);
    run(options(&dir, "m.gml")).unwrap();
}

#[test]
fn options_out_of_range_are_refused() {
    let dir = Dir::new();
    corpus(&dir);
    for (wrong, option) in [
        (FitOptions { order: 0, ..options(&dir, "m.gml") }, "order"),
        (FitOptions { order: 7, ..options(&dir, "m.gml") }, "order"),
        (FitOptions { threads: Some(0), ..options(&dir, "m.gml") }, "threads"),
        (FitOptions { normalizer: "no-such/1".into(), ..options(&dir, "m.gml") }, "normalizer"),
        (FitOptions { prune: vec![2, 1], ..options(&dir, "m.gml") }, "prune"),
    ] {
        let e = run(wrong).unwrap_err();
        assert_eq!((e.code(), e.location().column.as_deref()), (Code::InvalidArgument, Some(option)));
    }
}

#[test]
fn a_cancelled_fit_leaves_nothing() {
    let dir = Dir::new();
    corpus(&dir);
    let control = Control::default();
    control.cancel_token().cancel();
    assert_eq!(fit::run(options(&dir, "m.gml"), &control).unwrap_err().code(), Code::Aborted);
    assert!(!dir.path("m.gml").exists());
}
