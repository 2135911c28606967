//! The classifier on labelled text (`test/corpora`), beside scikit-learn's figures for the same features.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use gristmill_core::{Code, Control};
use gristmill_data::read_tables;
use gristmill_score::jobs::{ByteSize, Fitted, Method, ScoreOptions, SelectOptions, score};
use gristmill_score::{Labels, ScoreSpec};
use serde::Deserialize;

use crate::common::{Dir, assert_same, tree};
use crate::select::{options, run, setting};

/// `test/corpora/sklearn_reference.py` and `dsir_reference.py` made the figures.
#[derive(Deserialize)]
struct Reference {
    corpora: String,
    kinds: BTreeMap<String, BTreeMap<String, f64>>,
    average: BTreeMap<String, f64>,
}

/// The folder of the labelled pool, made by `test/corpora/prepare.mjs` from packages that `npm ci` installs.
/// `None`, with the reason on stderr, where they are not installed.
fn corpora() -> Option<PathBuf> {
    let made = Command::new("node").arg(scripts().join("prepare.mjs")).output();
    let reason = match made {
        Ok(output) if output.status.success() => {
            let manifest = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
            return Some(manifest.parent().unwrap().to_owned());
        }
        Ok(output) if output.status.code() == Some(3) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Ok(output) => panic!("prepare.mjs failed: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => format!("node does not run: {error}"),
    };
    let required = std::env::var("GRISTMILL_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|name| name.trim() == "corpora"), "{reason}");
    eprintln!("skipped: {reason}");
    None
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/corpora")
}

fn reference(name: &str, folder: &Path) -> Reference {
    let read =
        |path: PathBuf| serde_json::from_slice::<serde_json::Value>(&std::fs::read(path).unwrap()).unwrap();
    let reference: Reference = serde_json::from_value(read(scripts().join(name))).unwrap();
    assert_eq!(read(folder.join("manifest.json"))["content"], reference.corpora, "run {name}'s script again");
    reference
}

/// The label of every document of the pool, by its id.
fn labels(folder: &Path) -> BTreeMap<String, String> {
    #[derive(Deserialize)]
    struct Document {
        id: String,
        label: String,
    }
    let mut labels = BTreeMap::new();
    for entry in std::fs::read_dir(folder.join("pool")).unwrap() {
        let file = std::fs::File::open(entry.unwrap().path()).unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut flate2::read::MultiGzDecoder::new(file), &mut text).unwrap();
        for line in text.lines() {
            let Document { id, label } = serde_json::from_str(line).unwrap();
            labels.insert(id, label);
        }
    }
    labels
}

/// Ids and scores of a finished score job, best first.
pub(crate) fn ranked(output: &Path) -> Vec<(String, f64)> {
    let mut all = Vec::new();
    for name in tree(output).into_keys().filter(|name| name.ends_with(".scores.parquet")) {
        for batch in read_tables(output.join(name).to_str().unwrap()).unwrap() {
            let batch = batch.unwrap();
            let (ids, scores) =
                (batch["id"].as_string::<i32>(), batch["score"].as_primitive::<Float64Type>());
            all.extend((0..batch.num_rows()).map(|i| (ids.value(i).to_owned(), scores.value(i))));
        }
    }
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all
}

/// Precision of the classifier among as many best documents as are relevant, and its AUC on held-out text.
fn precision(folder: &Path, kind: &str, change: impl Fn(ScoreOptions) -> ScoreOptions) -> (f64, Fitted) {
    let dir = Dir::new();
    let source = |path: PathBuf| path.to_str().unwrap().into();
    let options = ScoreOptions {
        target: Some(source(folder.join(format!("target/{kind}.jsonl.gz")))),
        method: Some(Method::Classifier),
        ..ScoreOptions::new(source(folder.join("pool")), dir.at("scores"))
    };
    let summary = score::run(change(options), &Control::default()).unwrap();
    let labels = labels(folder);
    let relevant = labels.values().filter(|l| *l == kind).count();
    let hits = ranked(&dir.path("scores"))[..relevant].iter().filter(|(id, _)| labels[id] == kind).count();
    (hits as f64 / relevant as f64, summary.fitted.unwrap())
}

#[test]
fn it_is_as_precise_as_scikit_learn_with_the_same_features_and_more_than_dsir() {
    let Some(folder) = corpora() else { return };
    let sklearn = reference("sklearn_reference.json", &folder);
    let dsir = reference("dsir_reference.json", &folder);
    assert!(sklearn.kinds.len() >= 6);
    let (mut same, mut default, mut sampled) = (0.0, 0.0, 0.0);
    for (kind, figures) in &sklearn.kinds {
        let theirs = figures["sublinear liblinear c1"];
        let wordpunct = |o| ScoreOptions { normalizer: Some("wordpunct/1".into()), ..o };
        let (with_theirs, _) = precision(&folder, kind, wordpunct);
        let (ours, fitted) = precision(&folder, kind, |o| o);
        let auc = fitted.discrimination.auc;
        let quarter = ByteSize(fitted.pool.bytes / 4);
        let (from_less, less) =
            precision(&folder, kind, |o| ScoreOptions { pool_sample: Some(quarter), ..o });
        assert!((quarter.0..quarter.0 + 100_000).contains(&less.pool.bytes), "{:?}", less.pool);
        sampled += from_less;
        println!(
            "{kind:10} {ours:.4} (AUC {auc:.4}), with scikit-learn's words {with_theirs:.4}, scikit-learn {theirs:.4}, dsir {:.4}",
            dsir.kinds[kind]["mean"]
        );
        // Another hash collides elsewhere, and ties may fall in another order.
        let relevant = labels(&folder).values().filter(|l| *l == kind).count() as f64;
        assert!((with_theirs - theirs).abs() <= 4.0 / relevant + 0.005, "{kind}: {with_theirs} {theirs}");
        assert!(ours >= 4.0 * figures["random"], "{kind}: {ours}");
        (same, default) = (same + with_theirs, default + ours);
    }
    let n = sklearn.kinds.len() as f64;
    let best = sklearn.average.values().copied().fold(0.0, f64::max);
    println!(
        "mean       {:.4}, with scikit-learn's words {:.4}, from a quarter of the pool {:.4}, scikit-learn {best:.4}, dsir {:.4}",
        default / n,
        same / n,
        sampled / n,
        dsir.average["mean"]
    );
    assert!(same / n >= best - 0.003, "{}", same / n);
    assert!(default / n >= best, "{}", default / n);
    assert!(sampled / n >= default / n - 0.01, "{}", sampled / n);
    assert!(default / n >= dsir.average["mean"].max(dsir.average["sum"]) + 0.08, "{}", default / n);
}

#[test]
fn threads_and_a_second_run_do_not_change_a_byte() {
    let dir = setting();
    let with = |threads, output: &str| {
        let options = SelectOptions {
            method: Some(Method::Classifier),
            threads: Some(threads),
            labels: Some(Labels::default()),
            ..options(&dir, output)
        };
        run(options).unwrap();
        tree(&dir.path(output))
    };
    let one = with(1, "1");
    assert!(one.contains_key("_models/classifier.bin"));
    for threads in [2, 5] {
        assert_same(&one, &with(threads, &threads.to_string()), "threads");
    }
    assert_same(&one, &with(2, "1"), "again");
}

/// More than memory has room for, so features are a file.
#[test]
fn learning_from_all_of_the_pool_needs_no_memory_for_it() {
    let dir = setting();
    let with = |output: &str, pool_sample| {
        let options = SelectOptions {
            method: Some(Method::Classifier),
            rounds: Some(1),
            labels: Some(Labels { above: 0.8, below: 0.2 }),
            pool_sample,
            ..options(&dir, output)
        };
        let fitted = run(options).unwrap().fitted.unwrap();
        (fitted, std::fs::read(dir.path(output).join("_models/classifier.bin")).unwrap())
    };
    let in_memory = with("memory", None);
    assert!(in_memory.0.pool.bytes < 32 << 20, "the pool is smaller than a sample");
    assert!(with("file", Some(ByteSize(u64::MAX))) == in_memory);
}

#[test]
fn labels_and_rounds_are_part_of_what_a_score_is() {
    let dir = setting();
    let with = |output: &str, rounds, labels| {
        let options = SelectOptions {
            method: Some(Method::Classifier),
            rounds,
            labels,
            threshold: Some(0.5),
            budget: None,
            ..options(&dir, output)
        };
        run(options).unwrap()
    };
    let labels = Some(Labels { above: 0.7, below: 0.2 });
    let plain = with("plain", None, labels);
    assert!(plain.fitted.as_ref().unwrap().self_trained.is_none());
    assert_eq!(plain.spec, ScoreSpec { labels, ..plain.spec.clone() });
    for row in crate::select::selected(&dir, "plain") {
        let score = row["score"].as_f64().unwrap();
        assert!((0.5..=1.0).contains(&score));
        let expected = if score >= 0.7 { serde_json::json!("target") } else { serde_json::Value::Null };
        assert_eq!(row["label"], expected);
    }
    let trained = with("trained", Some(2), labels);
    let found = trained.fitted.unwrap().self_trained.unwrap();
    // 180 documents of the pool are of the wanted kind.
    assert!(found.rounds >= 1 && (150..=200).contains(&found.target) && found.other > 400, "{found:?}");
    let kept = |s: &gristmill_score::jobs::SelectSummary| s.counts.kept.unwrap().documents;
    assert!((150..=230).contains(&kept(&plain)), "{}", kept(&plain));
}

#[test]
fn options_that_do_not_fit_are_refused() {
    let dir = setting();
    let refused = |change: &dyn Fn(&mut SelectOptions), option: &str| {
        let mut o = SelectOptions { method: Some(Method::Classifier), ..options(&dir, "x") };
        change(&mut o);
        let e = run(o).unwrap_err();
        assert_eq!((e.code(), e.location().column.as_deref()), (Code::InvalidArgument, Some(option)), "{e}");
    };
    refused(&|o| o.weight = Some(0.5), "weight");
    refused(&|o| o.l2 = Some(-1.0), "l2");
    refused(&|o| o.labels = Some(Labels { above: 0.2, below: 0.3 }), "labels");
    refused(&|o| o.order = Some(9), "order");
    refused(&|o| (o.method, o.l2) = (Some(Method::Dsir), Some(1.0)), "l2");
    refused(&|o| (o.method, o.rounds) = (None, Some(1)), "rounds");
    refused(&|o| o.method = Some(Method::Rating), "method");
    let sample = Some(ByteSize(1 << 20));
    refused(
        &|o| (o.target, o.rating, o.method, o.pool_sample) = (None, Some("x".into()), None, sample),
        "poolSample",
    );
    let no_target = ScoreOptions {
        method: Some(Method::Classifier),
        ..ScoreOptions::new(dir.at("pool").as_str().into(), dir.at("y"))
    };
    let e = score::run(no_target, &Control::default()).unwrap_err();
    assert_eq!(e.location().column.as_deref(), Some("target"));
}

#[test]
fn a_damaged_classifier_is_named() {
    let dir = setting();
    let options = || SelectOptions {
        method: Some(Method::Classifier),
        worker: Some("0/2".into()),
        ..options(&dir, "out")
    };
    run(options()).unwrap();
    let path = dir.path("out/_models/classifier.bin");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40] ^= 0xff;
    std::fs::write(&path, bytes).unwrap();
    let e = run(SelectOptions { worker: Some("1/2".into()), ..options() }).unwrap_err();
    assert!(e.location().path.as_deref().unwrap().ends_with("classifier.bin"), "{e}");
}
