use std::collections::BTreeMap;

use gristmill_core::hash::{hash64, unit_open};
use gristmill_core::{Code, Control, Error};
use gristmill_score::Keep;
use gristmill_score::jobs::{
    Method, OnContradiction, RateOptions, ScoreSummary, SelectOptions, rate, select,
};
use serde_json::{Value, json};

use crate::classifier::ranked;
use crate::common::{Dir, assert_same, rows, tree};

fn run(options: RateOptions) -> Result<ScoreSummary, Error> {
    rate::run(options, &Control::default())
}

fn options(dir: &Dir, output: &str) -> RateOptions {
    let pool = dir.at("pool").as_str().into();
    RateOptions { threads: Some(2), ..RateOptions::new(dir.at("pairs.jsonl"), pool, dir.at(output)) }
}

/// Three kinds of text with an embedding that says little besides; the hidden rule prefers `good` to `fair` to `poor`,
/// and has been asked about documents numbered below 100 of each kind.
fn setting() -> Dir {
    let dir = Dir::new();
    let kinds = ["poor", "fair", "good"];
    let documents = |from: u64| {
        let with_embedding = move |(rank, kind): (usize, &'static str)| {
            rows(kind, from, 100).map(move |mut row| {
                let noise = |c: u64| unit_open(hash64(c, row["id"].as_str().unwrap().as_bytes())) - 0.5;
                row["embedding"] = json!([rank as f64 + noise(1), 5.0 * noise(2), 1.0]);
                row
            })
        };
        kinds.into_iter().enumerate().flat_map(with_embedding).collect::<Vec<Value>>()
    };
    dir.jsonl("pool/judged.jsonl", documents(0));
    dir.jsonl("pool/unseen.jsonl.gz", documents(1000));
    let pairs = (0..900u64).map(|n| {
        let draw = |c: u64, below: u64| hash64(c, &n.to_le_bytes()) % below;
        let (a, mut b) = (draw(1, 3), draw(2, 3));
        if a == b {
            b = (b + 1) % 3;
        }
        let id = |kind: u64, c| format!("{}-{}", kinds[kind as usize], draw(c, 100));
        // One judgement in ten is wrong.
        let right = draw(5, 10) > 0;
        json!({"a": id(a, 3), "b": id(b, 4), "p": if (a > b) == right { 0.9 } else { 0.1 }})
    });
    dir.jsonl("pairs.jsonl", pairs);
    dir
}

/// How often a better document is above a worse one, among those that nobody judged.
fn auc(dir: &Dir, output: &str) -> f64 {
    let rank = |id: &str| ["poor", "fair", "good"].iter().position(|k| id.starts_with(k)).unwrap();
    let unseen: Vec<(usize, f64)> = ranked(&dir.path(output))
        .into_iter()
        .filter(|(id, _)| id.split('-').nth(1).unwrap().len() > 3)
        .map(|(id, score)| (rank(&id), score))
        .collect();
    assert_eq!(unseen.len(), 300);
    let (mut right, mut pairs) = (0.0, 0.0);
    for a in &unseen {
        for b in unseen.iter().filter(|b| a.0 > b.0) {
            pairs += 1.0;
            right += if a.1 > b.1 {
                1.0
            } else if a.1 == b.1 {
                0.5
            } else {
                0.0
            };
        }
    }
    right / pairs
}

#[test]
fn documents_that_nobody_judged_are_ranked_as_the_judge_would() {
    let dir = setting();
    for (output, embedding) in [("by-words", None), ("by-embedding", Some("embedding".to_owned()))] {
        let summary = run(RateOptions { embedding: embedding.clone(), ..options(&dir, output) }).unwrap();
        assert!(
            summary.complete && summary.method == Method::BradleyTerry && summary.spec.keep == Keep::Highest
        );
        assert_eq!((summary.counts.scored.documents, summary.spec.column), (600, embedding));
        let rated = summary.rated.unwrap();
        assert_eq!((rated.judgements, rated.left_out), (900, 0));
        assert_eq!(rated.tried.len(), 5);
        let held_out = rated.held_out.unwrap();
        assert!(held_out.unseen_documents && held_out.accuracy > 0.8 && held_out.loss < 0.6, "{held_out:?}");
        let auc = auc(&dir, output);
        println!("{output}: AUC {auc:.4}, {held_out:?}");
        assert!(auc >= 0.95, "{output}: {auc}");
        assert!(summary.best.iter().all(|e| e.id.starts_with("good")), "{:?}", summary.best);
        assert!(summary.worst.iter().all(|e| e.id.starts_with("poor")), "{:?}", summary.worst);
    }
}

/// A difference of scores is the log-odds of preference: judgements were right nine times in ten.
#[test]
fn scores_are_calibrated() {
    let dir = setting();
    run(options(&dir, "out")).unwrap();
    let mut of_kind: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (id, score) in ranked(&dir.path("out")) {
        of_kind.entry(id.split('-').next().unwrap().to_owned()).or_default().push(score);
    }
    let mean = |k: &str| of_kind[k].iter().sum::<f64>() / of_kind[k].len() as f64;
    // Of two kinds that differ, the judge names the better one with a probability of 0.9, right in 9 of 10.
    let between = mean("good") - mean("poor");
    assert!((0.5..4.0).contains(&between), "{between}");
}

#[test]
fn threads_workers_and_a_second_run_do_not_change_a_byte() {
    let dir = setting();
    for embedding in [None, Some("embedding".to_owned())] {
        let with = |threads, worker: Option<&str>, output: &str| {
            let worker = worker.map(str::to_owned);
            let embedding = embedding.clone();
            run(RateOptions { threads: Some(threads), worker, embedding, ..options(&dir, output) }).unwrap()
        };
        let name = |n: &str| format!("{n}{}", embedding.is_some());
        with(1, None, &name("one"));
        let one = tree(&dir.path(&name("one")));
        with(5, None, &name("five"));
        assert_same(&one, &tree(&dir.path(&name("five"))), "threads");
        assert!(!with(2, Some("0/2"), &name("two")).complete);
        assert!(with(2, Some("1/2"), &name("two")).complete);
        assert_same(&one, &tree(&dir.path(&name("two"))), "workers");
        assert_eq!(with(1, None, &name("one")).shards.resumed, 2);
    }
}

#[test]
fn a_selection_samples_by_temperature_and_says_in_what_unit() {
    let dir = setting();
    run(options(&dir, "scores")).unwrap();
    let select = |output: &str, change: &dyn Fn(&mut SelectOptions)| {
        let mut o = SelectOptions {
            scores: Some(dir.at("scores")),
            budget: Some("5%".into()),
            temperature: Some(1.0),
            ..SelectOptions::new(dir.at("pool").as_str().into(), dir.at(output))
        };
        change(&mut o);
        select::run(o, &Control::default())
    };
    let plain = select("plain", &|_| ()).unwrap();
    assert!(plain.complete && plain.moments.is_none());
    let scores: Vec<f64> = ranked(&dir.path("scores")).into_iter().map(|r| r.1).collect();
    let mean = scores.iter().sum::<f64>() / 600.0;
    let deviation = (scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / 600.0).sqrt();
    let standard = select("standard", &|o| o.standardize = true).unwrap();
    let [m, sd] = standard.moments.unwrap();
    assert!((m - mean).abs() < 1e-9 && (sd - deviation).abs() < 1e-9);
    // Temperature 1 in deviations is this temperature in units of the score.
    select("same", &|o| o.temperature = Some(sd)).unwrap();
    let documents = |output: &str| -> BTreeMap<String, Vec<u8>> {
        let of = tree(&dir.path(output)).into_iter();
        of.filter(|(name, _)| name.ends_with(".jsonl") || name.ends_with(".gz")).collect()
    };
    assert_same(&documents("standard"), &documents("same"), "in deviations");
    for (change, option) in [
        ((|o| o.temperature = None) as fn(&mut SelectOptions), "standardize"),
        (|o| o.uniform = true, "uniform"),
    ] {
        let e = select("no", &|o| {
            o.standardize = true;
            change(o);
        })
        .unwrap_err();
        assert_eq!((e.code(), e.location().column.as_deref()), (Code::InvalidArgument, Some(option)));
    }
}

#[test]
fn contradictions_are_reported_dropped_or_refused() {
    let dir = setting();
    let mut text = std::fs::read_to_string(dir.path("pairs.jsonl")).unwrap();
    text += "{\"a\":\"good-1\",\"b\":\"poor-1\",\"better\":\"a\"}\n{\"a\":\"poor-1\",\"b\":\"good-1\",\"better\":\"a\"}\n";
    dir.write("pairs.jsonl", &text);
    let with = |output: &str, contradictions| run(RateOptions { contradictions, ..options(&dir, output) });
    let kept = with("kept", OnContradiction::Keep).unwrap().rated.unwrap();
    assert!(kept.contradicted >= 1 && kept.judgements == 902);
    let dropped = with("dropped", OnContradiction::Drop).unwrap().rated.unwrap();
    assert_eq!(dropped.contradicted, kept.contradicted);
    assert_eq!(dropped.judgements + dropped.left_out, 902);
    assert!(dropped.left_out >= 2);
    let ours = |c: &gristmill_score::jobs::Contradicted| {
        // `a` is the one that was mentioned first.
        let (for_good, for_poor) = if c.a == "good-1" { (&c.for_a, &c.for_b) } else { (&c.for_b, &c.for_a) };
        for_good == &[900] && for_poor == &[901]
    };
    assert!(kept.contradicted > 10 || kept.contradictions.iter().any(ours), "{:?}", kept.contradictions);
    let e = with("failed", OnContradiction::Fail).unwrap_err();
    assert_eq!(e.code(), Code::InvalidValue);
    assert!(
        e.location().path.as_deref().unwrap().ends_with("pairs.jsonl") && e.location().row.is_some(),
        "{e}"
    );
}

#[test]
fn judgements_and_documents_that_do_not_fit_are_named() {
    let dir = setting();
    let with = |pairs: &str, change: &dyn Fn(&mut RateOptions)| {
        dir.write("bad.jsonl", pairs);
        let mut o = RateOptions { pairs: dir.at("bad.jsonl"), fresh: true, ..options(&dir, "bad") };
        change(&mut o);
        run(o).unwrap_err()
    };
    let good = "{\"a\":\"good-1\",\"b\":\"poor-1\",\"p\":1}\n";
    let unknown = with(&format!("{good}{{\"a\":\"good-1\",\"b\":\"nobody\",\"p\":1}}\n"), &|_| ());
    assert_eq!((unknown.code(), unknown.location().row), (Code::NotFound, Some(1)));
    assert!(unknown.message().contains("nobody"));
    let broken = with(&format!("{good}oops\n"), &|_| ());
    assert_eq!((broken.code(), broken.location().row), (Code::CorruptData, Some(1)));
    assert_eq!(with("", &|_| ()).code(), Code::EmptyInput);
    let cancelled = with(
        "{\"a\":\"good-1\",\"b\":\"poor-1\",\"p\":1}\n{\"a\":\"good-1\",\"b\":\"poor-1\",\"p\":0}\n",
        &|_| (),
    );
    assert!(cancelled.message().contains("cancel"), "{cancelled}");
    let column = |e: Error| e.location().column.clone().unwrap_or_default();
    assert_eq!(column(with(good, &|o| o.l2 = Some(0.0))), "l2");
    assert_eq!(column(with(good, &|o| o.min_confidence = 0.6)), "minConfidence");
    assert_eq!(column(with(good, &|o| (o.embedding, o.order) = (Some("e".into()), Some(2)))), "order");
    let none = with(good, &|o| o.embedding = Some("embeding".into()));
    assert_eq!((none.code(), none.location().row), (Code::InvalidValue, Some(0)), "{none}");
    let text = with(good, &|o| o.embedding = Some("text".into()));
    assert_eq!((text.code(), column(text)), (Code::WrongType, "text".into()));

    dir.jsonl("pool/again.jsonl", rows("good", 1, 1));
    let twice = with(good, &|_| ());
    assert_eq!(twice.code(), Code::DuplicateId);
    assert!(twice.location().path.as_deref().unwrap().ends_with("judged.jsonl"), "{twice}");
    // A NaN cannot be written in JSON; an embedding of another length can.
    let mut short = rows("odd", 1, 1).next().unwrap();
    short["embedding"] = json!([1.0]);
    dir.jsonl("pool/again.jsonl", [short]);
    let e = with(good, &|o| o.embedding = Some("embedding".into()));
    assert_eq!((e.code(), e.location().row), (Code::InvalidValue, Some(0)), "{e}");
    assert!(e.location().path.as_deref().unwrap().ends_with("again.jsonl"), "{e}");
}
