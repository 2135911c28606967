use std::f64::consts::LN_10;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, UInt32Type, UInt64Type};
use gristmill_core::{CancelToken, Code, Control, Progress};
use gristmill_data::read_tables;
use gristmill_ngram::model::Model;
use gristmill_score::jobs::{
    Cutoffs, FitOptions, Method, Reason, ScoreOptions, ScoreSummary, SourceOptions, fit, score,
};
use gristmill_score::sidecar::spec_of;
use serde_json::json;

use crate::common::{Dir, assert_same, rows, tree};

pub(crate) fn run(options: ScoreOptions) -> Result<ScoreSummary, gristmill_core::Error> {
    score::run(options, &Control::default())
}

/// A pool of three shards in two formats, and two models.
pub(crate) fn setting() -> Dir {
    let dir = Dir::new();
    dir.jsonl("pool/a.jsonl", rows("x", 0, 700));
    dir.jsonl("pool/sub/b.jsonl.gz", rows("y", 0, 600));
    dir.jsonl("pool/c.jsonl", rows("x", 5000, 40));
    dir.jsonl("x/x.jsonl", rows("x", 9000, 300));
    dir.jsonl("y/y.jsonl", rows("y", 9000, 300));
    for kind in ["x", "y"] {
        let corpus = dir.at(kind).as_str().into();
        let fit = FitOptions {
            order: 2,
            threads: Some(2),
            discount_fallback: serde_json::from_value(true.into()).unwrap(),
            ..FitOptions::new(corpus, dir.at(&format!("{kind}.gml")))
        };
        fit::run(fit, &Control::default()).unwrap();
    }
    dir
}

pub(crate) fn options(dir: &Dir, output: &str) -> ScoreOptions {
    ScoreOptions {
        model: Some(dir.at("x.gml")),
        threads: Some(2),
        ..ScoreOptions::new(dir.at("pool").as_str().into(), dir.at(output))
    }
}

#[test]
fn every_document_has_sums_counts_and_the_score_that_follows() {
    let dir = setting();
    let summary =
        run(ScoreOptions { model: Some(format!("ngram:{}", dir.at("x.gml"))), ..options(&dir, "out") })
            .unwrap();
    assert!(summary.complete && summary.method == Method::Perplexity);
    assert_eq!(summary.counts.scored.documents, 1340);
    assert_eq!(summary.shards.done, 3);

    let model = Model::load(dir.path("x.gml")).unwrap();
    assert_eq!(summary.models[0].sha256, model.sha256().unwrap());
    let normalizer = gristmill_ngram::normalize::Normalizer::default();
    let mut documents = 0;
    for (name, kind, from) in [("a", "x", 0), ("sub/b", "y", 0), ("c", "x", 5000)] {
        let tables = read_tables(&dir.at(&format!("out/{name}.scores.parquet"))).unwrap();
        let spec = spec_of(tables.schema()).unwrap();
        assert_eq!(spec, summary.spec);
        let metadata = tables.schema().metadata();
        assert_eq!(metadata["gristmill.models"], json!({"model": {"sha256": model.sha256()}}).to_string());
        let input: serde_json::Value = serde_json::from_str(&metadata["gristmill.input"]).unwrap();
        assert_eq!(input["name"], name);
        assert!(!input["fingerprint"].as_str().unwrap().is_empty());
        let mut expected = rows(kind, from, 700).enumerate();
        for batch in tables {
            let batch = batch.unwrap();
            let number = |c: &str, i| batch[c].as_primitive::<UInt32Type>().value(i);
            let float = |c: &str, i| batch[c].as_primitive::<Float64Type>().value(i);
            for i in 0..batch.num_rows() {
                let (row, document) = expected.next().unwrap();
                documents += 1;
                assert_eq!(batch["id"].as_string::<i32>().value(i), document["id"].as_str().unwrap());
                assert_eq!(batch["row"].as_primitive::<UInt64Type>().value(i), row as u64);
                // Word by word, with the state handed on.
                let text = document["text"].as_str().unwrap();
                let words = normalizer.tokens(text).unwrap();
                let (mut state, mut log10) = (model.begin_state(), 0.0);
                for id in words.iter().map(|w| model.encode(w)).chain([model.eos()]) {
                    let (score, next) = model.full_score(&state, id);
                    log10 += f64::from(score.log10);
                    state = next;
                }
                let nll = -log10 * LN_10;
                assert!((float("nll_sum", i) - nll).abs() < 1e-9 * nll);
                let n = words.len() as u32;
                assert_eq!((number("n_tokens", i), number("n_scored", i)), (n, n + 1));
                assert_eq!(number("n_bytes", i), text.len() as u32);
                let perplexity = (nll / f64::from(n + 1)).exp();
                assert!((float("score", i) - perplexity).abs() < 1e-9 * perplexity);
            }
        }
    }
    assert_eq!(documents, 1340);
    // The model of x finds x likely.
    let of_x = |e: &gristmill_score::jobs::Example| e.id.starts_with("x-");
    assert!(summary.best.iter().all(of_x) && !summary.worst.iter().any(of_x));
    assert!(summary.best.windows(2).all(|p| p[0].score <= p[1].score), "best first: low perplexity is good");
}

#[test]
fn two_models_give_two_sums_and_their_difference() {
    let dir = setting();
    let two = |method, output| {
        let prior = Some(dir.at("y.gml"));
        let conditional = Some(dir.at("x.gml"));
        run(ScoreOptions { model: None, prior, conditional, method, ..options(&dir, output) }).unwrap()
    };
    let first = |output: &str, column: &str| {
        let batch =
            read_tables(&dir.at(&format!("{output}/a.scores.parquet"))).unwrap().next().unwrap().unwrap();
        batch[column].as_primitive::<Float64Type>().value(0)
    };
    assert_eq!(two(None, "lr").method, Method::LossReduction);
    two(Some(Method::MooreLewis), "ml");
    two(Some(Method::Difference), "ds");
    run(options(&dir, "one")).unwrap();
    assert_eq!(first("lr", "nll_sum_conditional"), first("one", "nll_sum"));
    assert_eq!(first("lr", "nll_sum_conditional"), first("ml", "nll_sum_target"));
    assert_eq!(first("lr", "nll_sum_prior"), first("ds", "nll_sum_reference"));
    assert!(first("lr", "score") > 0.0, "a document of x is likelier under the model of x");
    assert_eq!(first("lr", "score"), -first("ml", "score"));
}

#[test]
fn threads_and_workers_do_not_change_a_byte() {
    let dir = setting();
    run(ScoreOptions { threads: Some(1), ..options(&dir, "1") }).unwrap();
    let one = tree(&dir.path("1"));
    assert!(one.keys().any(|name| name == "sub/b.scores.parquet"), "{:?}", one.keys());
    for threads in [2, 8] {
        let out = threads.to_string();
        run(ScoreOptions { threads: Some(threads), ..options(&dir, &out) }).unwrap();
        assert_same(&one, &tree(&dir.path(&out)), &format!("{threads} threads"));
    }
    for (i, complete) in [(1, false), (0, false), (2, true)] {
        let worker = Some(format!("{i}/3"));
        let summary = run(ScoreOptions { worker, ..options(&dir, "workers") }).unwrap();
        assert_eq!(summary.complete, complete);
        assert_eq!((summary.shards.done, summary.shards.total), (1, 3));
    }
    assert_same(&one, &tree(&dir.path("workers")), "three workers");
}

#[test]
fn a_second_run_finds_everything_done() {
    let dir = setting();
    let first = run(options(&dir, "out")).unwrap();
    let before = tree(&dir.path("out"));
    let second = run(options(&dir, "out")).unwrap();
    assert_eq!((second.shards.done, second.shards.resumed), (0, 3));
    assert_eq!((first.counts, first.best, first.worst), (second.counts, second.best, second.worst));
    assert_same(&before, &tree(&dir.path("out")), "the same job again");
    let fresh = run(ScoreOptions { fresh: true, ..options(&dir, "out") }).unwrap();
    assert_eq!(fresh.shards.done, 3);
    assert_same(&before, &tree(&dir.path("out")), "started over");
}

#[test]
fn another_job_is_not_continued() {
    let dir = setting();
    run(options(&dir, "out")).unwrap();
    let refused = |options: ScoreOptions, what: &str| {
        let e = run(options).unwrap_err();
        assert_eq!(e.code(), Code::JobMismatch, "{what}: {e}");
    };
    refused(ScoreOptions { method: Some(Method::BitsPerByte), ..options(&dir, "out") }, "method");
    refused(ScoreOptions { model: Some(dir.at("y.gml")), ..options(&dir, "out") }, "model");
    let filtered = SourceOptions { filter: Some("n > 3".into()), ..dir.at("pool").as_str().into() };
    refused(ScoreOptions { pool: filtered, ..options(&dir, "out") }, "filter");
    // How it is run is not what it is.
    run(ScoreOptions { threads: Some(1), ..options(&dir, "out") }).unwrap();

    dir.jsonl("pool/c.jsonl", rows("x", 5000, 41));
    refused(options(&dir, "out"), "a changed input");
    run(ScoreOptions { fresh: true, ..options(&dir, "out") }).unwrap();
    dir.jsonl("pool/d.jsonl", rows("x", 6000, 41));
    refused(options(&dir, "out"), "a new input");
}

#[test]
fn a_cancelled_run_is_continued() {
    let dir = setting();
    run(options(&dir, "whole")).unwrap();
    let cancel = CancelToken::default();
    let stop = cancel.clone();
    let control = Control::with_cancel(cancel).on_progress(std::time::Duration::ZERO, move |p: &Progress| {
        // In the second shard: the first is committed, this one is not.
        if p.phase == "score" && p.documents > 900 {
            stop.cancel();
        }
    });
    let one = |dir: &Dir| ScoreOptions { threads: Some(1), ..options(dir, "out") };
    assert_eq!(score::run(one(&dir), &control).unwrap_err().code(), Code::Aborted);
    let summary = run(one(&dir)).unwrap();
    assert!(summary.shards.resumed >= 1 && summary.shards.done >= 1, "{:?}", summary.shards);
    assert_same(&tree(&dir.path("whole")), &tree(&dir.path("out")), "continued");
}

#[test]
fn a_damaged_score_file_is_made_again() {
    let dir = setting();
    run(options(&dir, "out")).unwrap();
    let before = tree(&dir.path("out"));
    std::fs::write(dir.path("out/a.scores.parquet"), b"PAR1").unwrap();
    std::fs::remove_file(dir.path("out/c.scores.parquet")).unwrap();
    assert_eq!(run(options(&dir, "out")).unwrap().shards.done, 2);
    assert_same(&before, &tree(&dir.path("out")), "repaired");
}

#[test]
fn documents_without_a_score_keep_their_row() {
    let dir = setting();
    let mut lines: Vec<_> = rows("x", 0, 5).collect();
    lines[1]["text"] = json!(null);
    lines[2]["text"] = json!(" \n ");
    lines[4]["n"] = json!(-1);
    dir.jsonl("few/a.jsonl", lines);
    let pool = SourceOptions { filter: Some("n >= 0".into()), ..dir.at("few").as_str().into() };
    let summary = run(ScoreOptions { pool, ..options(&dir, "out") }).unwrap();
    let dropped = |r| summary.counts.dropped[&r].documents;
    assert_eq!((dropped(Reason::NullText), dropped(Reason::EmptyText), dropped(Reason::Filtered)), (1, 1, 1));
    assert_eq!((summary.counts.read.documents, summary.counts.scored.documents), (5, 2));
    let batch = read_tables(&dir.at("out/a.scores.parquet")).unwrap().next().unwrap().unwrap();
    let scores = batch["score"].as_primitive::<Float64Type>();
    let rows = batch["row"].as_primitive::<UInt64Type>();
    let seen: Vec<_> = (0..batch.num_rows()).map(|i| (rows.value(i), scores.value(i).is_nan())).collect();
    assert_eq!(seen, [(0, false), (1, true), (2, true), (3, false)]);
}

#[test]
fn methods_want_their_models() {
    let dir = setting();
    let refused = |options: ScoreOptions, option: &str| {
        let e = run(options).unwrap_err();
        assert_eq!((e.code(), e.location().column.as_deref()), (Code::InvalidArgument, Some(option)), "{e}");
    };
    let none = ScoreOptions { model: None, ..options(&dir, "out") };
    refused(none.clone(), "prior");
    refused(ScoreOptions { prior: Some(dir.at("x.gml")), ..none.clone() }, "conditional");
    refused(ScoreOptions { prior: Some(dir.at("x.gml")), ..options(&dir, "out") }, "prior");
    refused(ScoreOptions { worker: Some("3/3".into()), ..options(&dir, "out") }, "worker");
    // A model that does not say how text was split, and nobody else who does.
    let arpa = FitOptions {
        order: 2,
        discount_fallback: serde_json::from_value(true.into()).unwrap(),
        ..FitOptions::new(dir.at("x").as_str().into(), dir.at("x.arpa"))
    };
    fit::run(arpa, &Control::default()).unwrap();
    let arpa = ScoreOptions { model: Some(dir.at("x.arpa")), ..options(&dir, "out") };
    refused(arpa.clone(), "normalizer");
    run(ScoreOptions { normalizer: Some("unicode-words/1".into()), ..arpa }).unwrap();
    refused(ScoreOptions { normalizer: Some("whitespace/1".into()), ..options(&dir, "out2") }, "normalizer");
}

/// The reference holds all scores in memory and sorts them.
#[test]
fn ccnet_has_buckets_and_percentiles_whatever_the_threads() {
    let dir = setting();
    let base = |output| ScoreOptions { method: Some(Method::Ccnet), ..options(&dir, output) };
    let percents = vec![0, 30, 60, 100];
    let plain = run(ScoreOptions { percentiles: percents.clone(), ..base("plain") }).unwrap();
    let column = |output: &str, f: &mut dyn FnMut(f64, Option<&str>)| {
        for name in ["a", "sub/b", "c"] {
            for batch in read_tables(&dir.at(&format!("{output}/{name}.scores.parquet"))).unwrap() {
                let batch = batch.unwrap();
                let buckets = batch.column_by_name("bucket").map(|b| b.as_string::<i32>());
                for (i, score) in batch["score"].as_primitive::<Float64Type>().values().iter().enumerate() {
                    f(*score, buckets.map(|b| b.value(i)));
                }
            }
        }
    };
    let mut scores = Vec::new();
    column("plain", &mut |score, bucket| {
        assert_eq!(bucket, None);
        scores.push(score);
    });
    scores.sort_unstable_by(f64::total_cmp);
    assert_eq!(scores.len(), 1340);
    let found: Vec<_> = plain.percentiles.iter().map(|p| (p.percent, p.score)).collect();
    // Nearest ranks of 1,340 scores: 1 (of 0), 402, 804 and 1,340.
    assert_eq!(found, [(0, scores[0]), (30, scores[401]), (60, scores[803]), (100, scores[1339])]);
    let again = ScoreOptions { percentiles: percents, threads: Some(8), ..base("plain") };
    assert_eq!(run(again).unwrap().percentiles, plain.percentiles);

    let cutoffs = Cutoffs { head: found[1].1, tail: found[2].1 };
    run(ScoreOptions { cutoffs: Some(cutoffs), ..base("cut") }).unwrap();
    let mut parts = [0; 3];
    column("cut", &mut |score, bucket| {
        let part = usize::from(score >= cutoffs.head) + usize::from(score >= cutoffs.tail);
        assert_eq!(bucket, Some(["head", "middle", "tail"][part]));
        parts[part] += 1;
    });
    assert!(parts.iter().all(|n| *n > 300), "{parts:?}");
}

#[test]
fn cutoffs_and_percentiles_out_of_place_are_refused() {
    let dir = setting();
    let refused = |options| run(options).unwrap_err().location().column.clone();
    let cutoffs = Some(Cutoffs { head: 1.0, tail: 2.0 });
    assert_eq!(refused(ScoreOptions { cutoffs, ..options(&dir, "a") }).as_deref(), Some("cutoffs"));
    let backwards = Some(Cutoffs { head: 2.0, tail: 1.0 });
    let ccnet = ScoreOptions { method: Some(Method::Ccnet), cutoffs: backwards, ..options(&dir, "b") };
    assert_eq!(refused(ccnet).as_deref(), Some("cutoffs"));
    let target = Some(dir.at("x").as_str().into());
    let fitted = ScoreOptions { target, model: None, cutoffs, ..options(&dir, "c") };
    assert_eq!(refused(fitted).as_deref(), Some("cutoffs"));
    let beyond = ScoreOptions { percentiles: vec![30, 101], ..options(&dir, "d") };
    assert_eq!(refused(beyond).as_deref(), Some("percentiles"));
}
