//! Ratings that the pool has: DataMan's strata, and the order in which to train.

use std::collections::BTreeMap;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, UInt64Type};
use gristmill_core::hash::hash64;
use gristmill_core::{Code, Control, Error};
use gristmill_data::read_tables;
use gristmill_score::jobs::{
    CurriculumOptions, Quotas, Reason, ScoreOptions, SelectOptions, SelectSummary, score, select,
};
use serde_json::{Value, json};

use crate::common::{Dir, assert_same, tree};
use crate::select::selected;

fn run(options: SelectOptions) -> Result<SelectSummary, Error> {
    select::run(options, &Control::default())
}

/// Documents from two sources in three domains, with a rating of 1 to 5; few of `forum/law` are rated 5.
fn setting() -> Dir {
    let dir = Dir::new();
    let document = |n: u64| {
        let draw = |c: u64, below: u64| hash64(c, &n.to_le_bytes()) % below;
        let source = ["web", "web", "forum"][draw(1, 3) as usize];
        let domain = ["law", "art", "science"][draw(2, 3) as usize];
        let rare = source == "forum" && domain == "law";
        let rating = if rare { 1 + draw(3, 40) / 9 } else { 1 + draw(3, 5) };
        let text = "several words of some text ".repeat(2 + draw(4, 5) as usize);
        json!({"id": format!("d{n}"), "text": text, "source": source, "domain": domain, "overall_score": rating, "n": n})
    };
    dir.jsonl("pool/a.jsonl", (0..1500).map(document));
    dir.jsonl("pool/b.jsonl.gz", (1500..3000).map(document));
    dir
}

fn options(dir: &Dir, output: &str) -> SelectOptions {
    SelectOptions {
        rating: Some("overall_score".into()),
        threshold: Some(5.0),
        uniform: true,
        quotas: Some(Quotas { column: vec!["source".into(), "domain".into()], shares: None }),
        budget: Some("400docs".into()),
        threads: Some(2),
        ..SelectOptions::new(dir.at("pool").as_str().into(), dir.at(output))
    }
}

fn strata(rows: &[Value]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for row in rows {
        let name = format!("{}/{}", row["source"].as_str().unwrap(), row["domain"].as_str().unwrap());
        *counts.entry(name).or_default() += 1;
    }
    counts
}

#[test]
fn strata_keep_their_proportion_and_say_what_they_lack() {
    let dir = setting();
    let summary = run(options(&dir, "out")).unwrap();
    let rows = selected(&dir, "out");
    assert!(rows.iter().all(|row| row["overall_score"] == 5 && row["score"] == 5.0));
    let kept = strata(&rows);
    assert_eq!(summary.groups.len(), 6);
    for group in &summary.groups {
        let name = group.group.as_deref().unwrap();
        let of_pool = group.pool.documents as f64 / 3000.0;
        assert!((group.budget as f64 - 400.0 * of_pool).abs() <= 1.0, "{group:?}");
        assert_eq!(kept[name] as u64, group.kept, "{group:?}");
        assert_eq!(group.short, group.budget.saturating_sub(group.eligible));
        assert_eq!(name == "forum/law", group.short > 0, "{group:?}");
    }
    // What is short stays short: nothing is repeated, and no other stratum gets it.
    let short: u64 = summary.groups.iter().map(|g| g.short).sum();
    let budget: u64 = summary.groups.iter().map(|g| g.budget).sum();
    assert_eq!(rows.len() as u64, budget - short);
    assert!(summary.counts.dropped[&Reason::BelowThreshold].documents > 2000);

    let again = |output: &str, threads, seed| {
        run(SelectOptions { threads: Some(threads), seed, ..options(&dir, output) }).unwrap();
        tree(&dir.path(output))
    };
    assert_same(&tree(&dir.path("out")), &again("one", 1, 0), "threads");
    assert_ne!(strata_ids(&again("other", 2, 1)), strata_ids(&again("five", 5, 0)));
}

fn strata_ids(tree: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    tree["a.jsonl"].clone()
}

/// Every document that may be taken is taken as often as any other.
#[test]
fn uniform_sampling_has_no_favourites() {
    let dir = Dir::new();
    dir.jsonl("pool.jsonl", (0..10).map(|n| json!({"id": n, "text": "a few words", "r": n})));
    let mut taken = [0u32; 10];
    for seed in 0..400 {
        let output = format!("out{seed}");
        let options = SelectOptions {
            rating: Some("r".into()),
            uniform: true,
            threshold: Some(2.0),
            budget: Some("4docs".into()),
            seed,
            threads: Some(1),
            ..SelectOptions::new(dir.at("pool.jsonl").as_str().into(), dir.at(&output))
        };
        run(options).unwrap();
        selected(&dir, &output).iter().for_each(|row| taken[row["r"].as_u64().unwrap() as usize] += 1);
        std::fs::remove_dir_all(dir.path(&output)).unwrap();
    }
    assert_eq!(taken[..2], [0, 0]);
    // 400 draws of 4 of 8: 200 each, with a deviation of 10.
    assert!(taken[2..].iter().all(|n| (155..=245).contains(n)), "{taken:?}");
}

/// Sampling without replacement by `exp(score / t)`: with a budget of one, the frequencies are those of a softmax.
#[test]
fn gumbel_sampling_has_the_frequencies_of_a_softmax() {
    let dir = Dir::new();
    dir.jsonl("pool.jsonl", (0..4).map(|n| json!({"id": n, "text": "a few words", "r": n})));
    let mut taken = [0.0; 4];
    let runs = 600;
    for seed in 0..runs {
        let output = format!("out{seed}");
        let options = SelectOptions {
            rating: Some("r".into()),
            temperature: Some(2.0),
            budget: Some("1docs".into()),
            seed,
            threads: Some(1),
            ..SelectOptions::new(dir.at("pool.jsonl").as_str().into(), dir.at(&output))
        };
        run(options).unwrap();
        taken[selected(&dir, &output)[0]["r"].as_u64().unwrap() as usize] += 1.0;
        std::fs::remove_dir_all(dir.path(&output)).unwrap();
    }
    let total: f64 = (0..4).map(|r| (f64::from(r) / 2.0).exp()).sum();
    // Chi-squared with three degrees of freedom: 16.3 at one in a thousand.
    let chi: f64 = (0..4)
        .map(|r| {
            let expected = runs as f64 * (f64::from(r) / 2.0).exp() / total;
            (taken[r as usize] - expected).powi(2) / expected
        })
        .sum();
    assert!(chi < 16.3, "{taken:?}: {chi}");
}

#[test]
fn a_curriculum_goes_through_every_topic_in_order_and_keeps_the_mixture() {
    let dir = setting();
    let with = |output: &str, curriculum: Value, threads| {
        run(SelectOptions {
            rating: Some("n".into()),
            threshold: Some(0.0),
            uniform: false,
            quotas: Some(Quotas { column: vec!["domain".into()], shares: None }),
            budget: Some("50%".into()),
            curriculum: Some(serde_json::from_value(curriculum).unwrap()),
            threads: Some(threads),
            ..options(&dir, output)
        })
        .unwrap()
    };
    let summary = with("out", json!({"direction": "ascending"}), 2);
    let report = summary.curriculum.unwrap();
    assert_eq!((report.documents, report.topics), (summary.counts.kept.unwrap().documents, 3));
    let order = read_order(&dir.at(&format!("out/{}", report.file)));
    assert_eq!(order.len() as u64, report.documents);
    // Each place leads to the document itself.
    let mut files: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (file, row, topic, score) in &order {
        let rows = files.entry(file.clone()).or_insert_with(|| lines(&dir, "out", file));
        let document = &rows[*row as usize];
        assert_eq!(
            (document["domain"].as_str().unwrap(), document["score"].as_f64().unwrap()),
            (topic.as_str(), *score)
        );
    }
    for topic in ["law", "art", "science"] {
        let scores: Vec<f64> = order.iter().filter(|o| o.2 == topic).map(|o| o.3).collect();
        assert!(scores.len() > 300 && scores.windows(2).all(|w| w[0] <= w[1]), "{topic}");
        let share = |part: &[(String, u64, String, f64)]| {
            part.iter().filter(|o| o.2 == topic).count() as f64 / part.len() as f64
        };
        for stretch in order.chunks(300).filter(|c| c.len() == 300) {
            assert!((share(stretch) - share(&order)).abs() < 0.06, "{topic}");
        }
    }
    with("again", json!({"direction": "ascending"}), 5);
    assert_same(&tree(&dir.path("out")), &tree(&dir.path("again")), "threads");
    let noisy =
        with("noisy", json!({"direction": "descending", "temperature": 500.0}), 2).curriculum.unwrap();
    let scores: Vec<f64> =
        read_order(&dir.at(&format!("noisy/{}", noisy.file))).iter().map(|o| o.3).collect();
    let half = scores.len() / 2;
    let mean = |s: &[f64]| s.iter().sum::<f64>() / s.len() as f64;
    assert!(mean(&scores[..half]) > mean(&scores[half..]) + 100.0, "better ones first, mostly");
    assert!(scores.windows(2).any(|w| w[0] < w[1]), "and not always");
    assert_eq!(
        with("noisy", json!({"direction": "descending", "temperature": 500.0}), 2).curriculum.unwrap(),
        noisy
    );
    // The order is no part of what the selection's readers see.
    let rows: usize = gristmill_data::read_all(&dir.at("out"), &Control::default())
        .unwrap()
        .map(|b| b.unwrap().num_rows())
        .sum();
    assert_eq!(rows, order.len());
}

fn lines(dir: &Dir, output: &str, file: &str) -> Vec<Value> {
    let bytes = std::fs::read(dir.path(output).join(file)).unwrap();
    let mut text = String::new();
    if file.ends_with(".gz") {
        std::io::Read::read_to_string(&mut flate2::read::MultiGzDecoder::new(&bytes[..]), &mut text).unwrap();
    } else {
        text = String::from_utf8(bytes).unwrap();
    }
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn read_order(path: &str) -> Vec<(String, u64, String, f64)> {
    let mut order = Vec::new();
    for batch in read_tables(path).unwrap() {
        let batch = batch.unwrap();
        let (file, topic) = (batch["file"].as_string::<i32>(), batch["topic"].as_string::<i32>());
        let (row, score) =
            (batch["row"].as_primitive::<UInt64Type>(), batch["score"].as_primitive::<Float64Type>());
        assert_eq!(topic.null_count(), 0);
        for i in 0..batch.num_rows() {
            order.push((file.value(i).to_owned(), row.value(i), topic.value(i).to_owned(), score.value(i)));
        }
    }
    order
}

#[test]
fn a_rating_that_is_none_is_named() {
    let dir = setting();
    let refused = |change: &dyn Fn(&mut SelectOptions)| {
        let mut o = SelectOptions { fresh: true, ..options(&dir, "bad") };
        change(&mut o);
        run(o).unwrap_err()
    };
    let at = |e: &Error| (e.code(), e.location().column.clone().unwrap_or_default());
    assert_eq!(at(&refused(&|o| o.rating = Some("overal".into()))), (Code::MissingColumn, "overal".into()));
    let text = refused(&|o| o.rating = Some("domain".into()));
    assert_eq!(at(&text), (Code::WrongType, "domain".into()));
    assert_eq!(text.location().row, Some(0));
    assert_eq!(at(&refused(&|o| o.target = Some("x".into()))), (Code::InvalidArgument, "target".into()));
    assert_eq!(at(&refused(&|o| o.l2 = Some(1.0))), (Code::InvalidArgument, "l2".into()));
    assert_eq!(at(&refused(&|o| o.temperature = Some(1.0))), (Code::InvalidArgument, "uniform".into()));
    assert_eq!(
        at(&refused(&|o| (o.budget, o.quotas) = (None, None))),
        (Code::InvalidArgument, "uniform".into())
    );
    assert_eq!(
        at(&refused(&|o| o.quotas = Some(Quotas { column: vec![], shares: None }))),
        (Code::InvalidArgument, "quotas".into())
    );
    let curriculum = CurriculumOptions { temperature: Some(-1.0), ..Default::default() };
    assert_eq!(
        at(&refused(&|o| o.curriculum = Some(curriculum))),
        (Code::InvalidArgument, "curriculum".into())
    );
    let same = refused(&|o| {
        (o.uniform, o.temperature, o.standardize) = (false, Some(1.0), true);
        o.quotas = None;
        o.pool.filter = Some("overall_score == 5".into());
    });
    assert_eq!(at(&same), (Code::InvalidValue, "standardize".into()));

    let range = |range: [f64; 2]| refused(&|o| o.rating_range = Some(range));
    let beyond = range([1.0, 4.0]);
    assert_eq!(at(&beyond), (Code::InvalidValue, "overall_score".into()));
    assert!(beyond.location().row.is_some() && beyond.message().contains("a rating of 5"), "{beyond}");
    assert!(beyond.location().path.as_deref().unwrap().contains("pool/"), "{beyond}");
    assert_eq!(at(&range([5.0, 1.0])), (Code::InvalidArgument, "ratingRange".into()));
    let alone = refused(&|o| (o.rating, o.rating_range) = (None, Some([1.0, 5.0])));
    assert_eq!(at(&alone), (Code::InvalidArgument, "ratingRange".into()));
    let with_range = SelectOptions { rating_range: Some([1.0, 5.0]), ..options(&dir, "ranged") };
    assert_eq!(run(with_range).unwrap().spec.range, Some([1.0, 5.0]));

    let scoring = ScoreOptions {
        rating: Some("overall_score".into()),
        model: Some("m.gml".into()),
        ..ScoreOptions::new(dir.at("pool").as_str().into(), dir.at("s"))
    };
    let e = score::run(scoring, &Control::default()).unwrap_err();
    assert_eq!(at(&e), (Code::InvalidArgument, "model".into()));
}
