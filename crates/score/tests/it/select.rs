use std::collections::BTreeMap;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use gristmill_core::{Code, Control, Counts, Error};
use gristmill_data::read_tables;
use gristmill_score::jobs::{
    Crossing, Method, Quotas, Reason, ScoreOptions, SelectOptions, SelectSummary, SourceOptions, score,
    select,
};
use serde_json::json;

use crate::common::{Dir, assert_same, rows, tree};

type Change<'a> = &'a dyn Fn(&mut SelectOptions);

pub(crate) fn run(options: SelectOptions) -> Result<SelectSummary, Error> {
    select::run(options, &Control::default())
}

/// A pool in which one document in four is of the wanted kind, over four shards, and a target of that kind.
pub(crate) fn setting() -> Dir {
    let dir = Dir::new();
    let mixed = |from: u64| {
        rows("wanted", from, 60)
            .chain(rows("other", from, 100))
            .chain(rows("noise", from, 80))
            .collect::<Vec<_>>()
    };
    dir.jsonl("pool/a.jsonl", mixed(0));
    dir.jsonl("pool/b.jsonl.gz", mixed(1000));
    dir.jsonl("pool/c/d.jsonl", mixed(2000));
    dir.jsonl("pool/e.jsonl", rows("noise", 9000, 5));
    dir.jsonl("target.jsonl", rows("wanted", 50_000, 60));
    dir
}

pub(crate) fn options(dir: &Dir, output: &str) -> SelectOptions {
    SelectOptions {
        target: Some(dir.at("target.jsonl").as_str().into()),
        budget: Some("180docs".into()),
        threads: Some(2),
        ..SelectOptions::new(dir.at("pool").as_str().into(), dir.at(output))
    }
}

/// The selected rows of all shards, in order of file and row.
pub(crate) fn selected(dir: &Dir, output: &str) -> Vec<serde_json::Value> {
    let mut out = Vec::new();
    for (name, bytes) in tree(&dir.path(output)) {
        let text = match name.as_str() {
            n if n.starts_with('_') || n == "report.json" => continue,
            n if n.ends_with(".gz") => {
                let mut text = String::new();
                std::io::Read::read_to_string(&mut flate2::read::MultiGzDecoder::new(&bytes[..]), &mut text)
                    .unwrap();
                text
            }
            _ => String::from_utf8(bytes).unwrap(),
        };
        out.extend(text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()));
    }
    out
}

fn kinds(rows: &[serde_json::Value]) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    rows.iter().for_each(|r| *kinds.entry(r["kind"].as_str().unwrap().to_owned()).or_default() += 1);
    kinds
}

#[test]
fn a_target_brings_its_kind_to_the_top() {
    let dir = setting();
    for method in [Method::LossReduction, Method::MooreLewis, Method::Dsir, Method::Classifier] {
        let out = method.as_str();
        let summary = run(SelectOptions { method: Some(method), ..options(&dir, out) }).unwrap();
        assert!(summary.complete);
        let rows = selected(&dir, out);
        assert_eq!(rows.len(), 180, "{method}");
        assert!(kinds(&rows)["wanted"] >= 170, "{method}: {:?}", kinds(&rows));
        let auc = summary.fitted.as_ref().unwrap().discrimination.auc;
        // A quarter of the pool is of the wanted kind itself, and as good as the target.
        assert!((0.7..0.95).contains(&auc), "{method}: {auc}");
        assert!(summary.best.iter().all(|e| e.id.starts_with("wanted")), "{method}: {:?}", summary.best);
        assert!(!summary.worst.iter().any(|e| e.id.starts_with("wanted")), "{method}");
        assert_eq!((summary.best.len(), summary.worst.len()), (10, 10));

        let counts = &summary.counts;
        counts.check().unwrap();
        assert_eq!((counts.read.documents, counts.scored.documents), (725, 725));
        assert_eq!(counts.kept.unwrap().documents, 180);
        assert_eq!(counts.dropped[&Reason::OverBudget].documents, 545);
        let bytes: u64 = rows.iter().map(|r| r["text"].as_str().unwrap().len() as u64).sum();
        assert_eq!(counts.kept.unwrap().bytes, bytes, "the summary counts what the files hold");
    }
}

#[test]
fn output_keeps_every_input_column_and_adds_scores() {
    let dir = setting();
    let summary = run(options(&dir, "out")).unwrap();
    let originals: BTreeMap<String, serde_json::Value> = ["wanted", "other", "noise"]
        .iter()
        .flat_map(|kind| [0, 1000, 2000].map(|from| rows(kind, from, 100)))
        .flatten()
        .map(|r| (r["id"].as_str().unwrap().to_owned(), r))
        .collect();
    let mut lowest = f64::INFINITY;
    for mut row in selected(&dir, "out") {
        let fields = row.as_object_mut().unwrap();
        let score = fields.remove("score").unwrap().as_f64().unwrap();
        lowest = lowest.min(score);
        let n = |v: Option<serde_json::Value>| v.unwrap().as_f64().unwrap();
        let [tokens, scored, bytes] = ["n_tokens", "n_scored", "n_bytes"].map(|c| n(fields.remove(c)));
        let [prior, conditional] = ["nll_sum_prior", "nll_sum_conditional"].map(|c| n(fields.remove(c)));
        assert_eq!(scored, tokens + 1.0);
        assert_eq!(bytes, row["text"].as_str().unwrap().len() as f64);
        assert!((score - (prior - conditional) / scored).abs() < 1e-12);
        assert_eq!(row, originals[row["id"].as_str().unwrap()], "nothing else changed");
    }
    assert_eq!(summary.cut, Some(lowest));
}

#[test]
fn a_table_comes_out_as_a_table() {
    let dir = setting();
    run(SelectOptions { output_format: Some("parquet".into()), ..options(&dir, "tables") }).unwrap();
    let again = SelectOptions {
        pool: dir.at("tables").as_str().into(),
        prefix: "again_".into(),
        budget: Some("10docs".into()),
        ..options(&dir, "again")
    };
    run(again).unwrap();
    let mut rows = 0;
    for name in ["a", "b", "c/d"] {
        let Ok(tables) = read_tables(&dir.at(&format!("again/{name}.parquet"))) else { continue };
        for batch in tables {
            let batch = batch.unwrap();
            rows += batch.num_rows();
            assert!(batch["n"].as_primitive_opt::<Int64Type>().is_some());
            for column in ["score", "again_score"] {
                assert_eq!(batch[column].as_primitive::<Float64Type>().null_count(), 0);
            }
        }
    }
    assert_eq!(rows, 10);
}

#[test]
fn threads_and_workers_do_not_change_a_byte() {
    let dir = setting();
    run(SelectOptions { threads: Some(1), ..options(&dir, "1") }).unwrap();
    let one = tree(&dir.path("1"));
    for threads in [2, 8] {
        let out = threads.to_string();
        run(SelectOptions { threads: Some(threads), ..options(&dir, &out) }).unwrap();
        assert_same(&one, &tree(&dir.path(&out)), &format!("{threads} threads"));
    }
    for i in [1, 0, 2] {
        let summary =
            run(SelectOptions { worker: Some(format!("{i}/3")), ..options(&dir, "workers") }).unwrap();
        assert_eq!(summary.complete, i == 2, "the last one finds all scores and selects");
        assert_eq!(summary.shards.pending == 0, summary.complete);
    }
    assert_same(&one, &tree(&dir.path("workers")), "three workers");
}

#[test]
fn workers_at_the_same_time_agree() {
    let dir = setting();
    run(options(&dir, "alone")).unwrap();
    std::thread::scope(|scope| {
        for i in 0..4 {
            let options = SelectOptions { worker: Some(format!("{i}/4")), ..options(&dir, "together") };
            scope.spawn(|| run(options).unwrap());
        }
    });
    assert_same(&tree(&dir.path("alone")), &tree(&dir.path("together")), "four workers at once");
}

#[test]
fn finished_scores_are_selected_from_without_scoring() {
    let dir = setting();
    let by_target = run(options(&dir, "direct")).unwrap();
    let scored = score::run(
        ScoreOptions {
            target: Some(dir.at("target.jsonl").as_str().into()),
            threads: Some(2),
            ..ScoreOptions::new(dir.at("pool").as_str().into(), dir.at("scores"))
        },
        &Control::default(),
    )
    .unwrap();
    assert_eq!((&scored.best, &scored.fitted), (&by_target.best, &by_target.fitted));
    let from = |scores: &str, output: &str| {
        let scores = Some(dir.at(scores));
        run(SelectOptions { target: None, scores, ..options(&dir, output) }).unwrap()
    };
    let files = |output: &str| {
        let mut files = tree(&dir.path(output));
        files.retain(|name, _| !name.starts_with('_') && name != "report.json");
        files
    };
    let summary = from("scores", "from-scores");
    assert_eq!((summary.counts.clone(), summary.cut), (by_target.counts.clone(), by_target.cut));
    assert_eq!(summary.models.len(), 2);
    assert_same(&files("direct"), &files("from-scores"), "from the scores of a score job");
    from("direct", "from-selection");
    assert_same(&files("direct"), &files("from-selection"), "from the scores of a selection");
    // A quota column that the score files do not have is read from the pool.
    let quotas = Some(Quotas { column: vec!["kind".into()], shares: None });
    let options = |output| SelectOptions { quotas: quotas.clone(), ..options(&dir, output) };
    run(options("quotas")).unwrap();
    run(SelectOptions { target: None, scores: Some(dir.at("scores")), ..options("quotas-from-scores") })
        .unwrap();
    assert_same(&files("quotas"), &files("quotas-from-scores"), "quotas");

    dir.jsonl("pool/e.jsonl", rows("noise", 9000, 6));
    let e =
        run(SelectOptions { target: None, scores: Some(dir.at("scores")), ..options("late") }).unwrap_err();
    assert_eq!(e.code(), Code::JobMismatch, "the pool changed since: {e}");
}

#[test]
fn budgets_thresholds_and_crossing() {
    let dir = setting();
    let scores = {
        run(options(&dir, "scores")).unwrap();
        dir.at("scores")
    };
    let again = |output: &str, change: Change| {
        let mut o = SelectOptions { target: None, scores: Some(scores.clone()), ..options(&dir, output) };
        change(&mut o);
        run(o).unwrap()
    };
    let tenth = again("tenth", &|o| o.budget = Some("10%".into()));
    let (kept, read) = (tenth.counts.kept.unwrap(), tenth.counts.read);
    assert!(
        kept.tokens * 10 >= read.tokens && (kept.tokens - 200) * 10 < read.tokens,
        "{kept:?} of {read:?}"
    );
    let below = again("below", &|o| {
        o.budget = Some("10%".into());
        o.crossing = Crossing::Exclude;
    });
    assert_eq!(below.counts.kept.unwrap().documents + 1, kept.documents);
    let cut = tenth.cut.unwrap();
    let threshold = again("threshold", &|o| {
        o.budget = None;
        o.threshold = Some(cut);
    });
    assert_eq!(threshold.counts.kept, tenth.counts.kept);
    assert_eq!(threshold.counts.dropped[&Reason::BelowThreshold].documents, 725 - kept.documents);
    let lowest = again("lowest", &|o| o.lowest = Some(true));
    assert!(!kinds(&selected(&dir, "lowest")).contains_key("wanted"));
    assert_eq!(lowest.best, tenth.worst, "best is what is kept");
    let sampled = again("sampled", &|o| o.temperature = Some(1e6));
    assert_eq!(sampled.counts.kept.unwrap().documents, 180);
    let wanted = kinds(&selected(&dir, "sampled"))["wanted"];
    assert!((20..80).contains(&wanted), "at a high temperature it is chance: {wanted} of 180");
    let everything = again("everything", &|o| o.budget = Some("100%".into()));
    assert_eq!(everything.counts.kept, Some(everything.counts.read));
}

#[test]
fn quotas_divide_the_budget() {
    let dir = setting();
    let shares = BTreeMap::from([("wanted", "1"), ("other", "3")])
        .into_iter()
        .map(|(k, v)| (k.to_owned(), serde_json::from_value(json!(v.parse::<u32>().unwrap())).unwrap()))
        .collect();
    let quotas = Some(Quotas { column: vec!["kind".into()], shares: Some(shares) });
    let summary =
        run(SelectOptions { quotas, budget: Some("100docs".into()), ..options(&dir, "out") }).unwrap();
    let kinds = kinds(&selected(&dir, "out"));
    assert_eq!(kinds, BTreeMap::from([("other".to_owned(), 75), ("wanted".to_owned(), 25)]));
    assert_eq!(summary.counts.dropped[&Reason::NoShare].documents, 245);
    let group = summary.groups.iter().find(|g| g.group.as_deref() == Some("other")).unwrap();
    assert_eq!((group.pool.documents, group.kept), (300, 75));
    summary.counts.check().unwrap();
}

#[test]
fn the_report_holds_the_summary_and_nothing_of_the_run() {
    let dir = setting();
    let report = dir.at("report.json");
    let summary = run(SelectOptions { report: Some(report.clone()), ..options(&dir, "out") }).unwrap();
    let text = std::fs::read(&report).unwrap();
    assert_eq!(text, std::fs::read(dir.path("out/report.json")).unwrap());
    let report: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let mut expected = serde_json::to_value(&summary).unwrap();
    for field in ["output", "shards", "timings"] {
        expected.as_object_mut().unwrap().remove(field).unwrap();
    }
    for model in expected["models"].as_array_mut().unwrap() {
        model.as_object_mut().unwrap().remove("path").unwrap();
    }
    assert_eq!(report, expected);
    assert_eq!(report["kept"]["documents"], 180);
}

#[test]
fn another_selection_is_not_continued() {
    let dir = setting();
    run(options(&dir, "out")).unwrap();
    let before = tree(&dir.path("out"));
    let again = run(options(&dir, "out")).unwrap();
    assert_eq!((again.shards.done, again.shards.resumed), (0, 4));
    assert_same(&before, &tree(&dir.path("out")), "the same again");
    let changes: [(&str, Change); 6] = [
        ("budget", &|o| o.budget = Some("181docs".into())),
        ("seed", &|o| o.seed = 1),
        ("method", &|o| o.method = Some(Method::Dsir)),
        ("order", &|o| o.order = Some(3)),
        ("prefix", &|o| o.prefix = "x_".into()),
        ("format", &|o| o.output_format = Some("parquet".into())),
    ];
    for (what, change) in changes {
        let mut o = options(&dir, "out");
        change(&mut o);
        assert_eq!(run(o).unwrap_err().code(), Code::JobMismatch, "{what}");
    }
    assert_same(&before, &tree(&dir.path("out")), "refusals change nothing");
    dir.jsonl("target.jsonl", rows("wanted", 50_001, 60));
    assert_eq!(run(options(&dir, "out")).unwrap_err().code(), Code::JobMismatch, "another target");
    run(SelectOptions { fresh: true, ..options(&dir, "out") }).unwrap();
}

#[test]
fn contradictions_are_refused() {
    let dir = setting();
    let changes: [(&str, Change); 9] = [
        ("target", &|o| o.target = None),
        ("target", &|o| o.scores = Some("x".into())),
        ("budget", &|o| o.budget = None),
        ("budget", &|o| o.budget = Some("a lot".into())),
        ("method", &|o| o.method = Some(Method::Perplexity)),
        ("weight", &|o| o.weight = Some(1.5)),
        ("order", &|o| o.order = Some(9)),
        ("outputFormat", &|o| o.output_format = Some("csv".into())),
        ("temperature", &|o| o.temperature = Some(-1.0)),
    ];
    for (option, change) in changes {
        let mut o = options(&dir, "out");
        change(&mut o);
        let e = run(o).unwrap_err();
        assert_eq!((e.code(), e.location().column.as_deref()), (Code::InvalidArgument, Some(option)), "{e}");
    }
    assert!(!dir.path("out").exists());
}

#[test]
fn documents_without_text_have_their_own_reasons() {
    let dir = setting();
    dir.jsonl(
        "pool/f.jsonl",
        [
            json!({"id": "null", "text": null}),
            json!({"id": "empty", "text": ""}),
            json!({"id": "blank", "text": " \n\t"}),
            json!({"id": "filtered", "text": "left out by the filter", "n": -1}),
        ],
    );
    let filter = Some("id != \"filtered\"".into());
    let pool = SourceOptions { filter, ..dir.at("pool").as_str().into() };
    let summary = run(SelectOptions { pool, budget: Some("100%".into()), ..options(&dir, "out") }).unwrap();
    let dropped = |r| summary.counts.dropped.get(&r).map_or(0, |c: &Counts| c.documents);
    assert_eq!((dropped(Reason::NullText), dropped(Reason::EmptyText), dropped(Reason::Filtered)), (1, 2, 1));
    assert_eq!(summary.counts.kept.unwrap().documents, 725);
    assert_eq!(selected(&dir, "out").len(), 725);
}
