use std::collections::BTreeMap;
use std::f64::consts::PI;

use gristmill_core::hash::{hash64, unit_open};
use gristmill_core::{Code, Control, Error};
use gristmill_score::jobs::{
    CombineOptions, CombineSummary, Method, Raters, ScoreOptions, SelectOptions, combine, score, select,
};
use serde_json::{Value, json};

use crate::classifier::ranked;
use crate::common::{Dir, assert_same, tree};
use crate::select::selected;

fn run(options: CombineOptions) -> Result<CombineSummary, Error> {
    combine::run(options, &Control::default())
}

fn options(dir: &Dir, output: &str) -> CombineOptions {
    CombineOptions {
        scores: Raters::Directory(dir.at("scores")),
        runs: None,
        loss: None,
        weights: None,
        sample: None,
        output: dir.at(output),
        fresh: false,
        threads: Some(2),
        seed: 0,
    }
}

/// Three independent standard normal numbers of a document.
fn ratings(n: u64) -> [f64; 3] {
    std::array::from_fn(|r| {
        let u = |c: u64| unit_open(hash64(c, &(3 * n + r as u64).to_le_bytes()));
        (-2.0 * u(1).ln()).sqrt() * (2.0 * PI * u(2)).cos()
    })
}

/// What a document is worth, which no rater knows alone.
const PLANTED: [f64; 3] = [0.6, 0.4, 0.0];

fn worth(n: u64) -> f64 {
    ratings(n).iter().zip(PLANTED).map(|(r, w)| r * w).sum()
}

/// A pool of 1,200 documents with three ratings on scales of their own, and the score jobs of these.
fn setting() -> Dir {
    let dir = Dir::new();
    let document = |n: u64| {
        let [a, b, c] = ratings(n);
        json!({"id": format!("d{n}"), "text": format!("text number {n}"), "n": n, "edu": 3.0 + a, "style": 100.0 * b, "noise": c})
    };
    dir.jsonl("pool/a.jsonl", (0..700).map(document));
    dir.jsonl("pool/b.jsonl.gz", (700..1200).map(document));
    for rater in ["edu", "style", "noise"] {
        rate(&dir, rater, &format!("scores/{rater}")).unwrap();
    }
    dir
}

fn rate(dir: &Dir, column: &str, output: &str) -> Result<(), Error> {
    let options = ScoreOptions {
        rating: Some(column.to_owned()),
        threads: Some(2),
        ..ScoreOptions::new(dir.at("pool").as_str().into(), dir.at(output))
    };
    score::run(options, &Control::default()).map(|summary| assert_eq!(summary.method, Method::Rating))
}

#[test]
fn given_weights_make_the_weighted_sum_of_standard_scores() {
    let dir = setting();
    let weights = BTreeMap::from([("edu".to_owned(), 2.0), ("style".to_owned(), 1.0)]);
    let summary = run(CombineOptions { weights: Some(weights), ..options(&dir, "out") }).unwrap();
    assert_eq!(summary.counts.scored.documents, 1200);
    assert!(summary.fit.is_none() && summary.optimum.is_none());
    let moments = |r: usize| {
        let all: Vec<f64> = (0..1200).map(|n| ratings(n)[r]).collect();
        let mean = all.iter().sum::<f64>() / 1200.0;
        (mean, (all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1200.0).sqrt())
    };
    let [(m0, s0), (m1, s1)] = [moments(0), moments(1)];
    let names: Vec<&str> = summary.raters.iter().map(|r| r.rater.as_str()).collect();
    assert_eq!(names, ["edu", "noise", "style"]);
    assert!((summary.raters[0].mean - 3.0 - m0).abs() < 1e-9);
    assert!((summary.raters[2].deviation - 100.0 * s1).abs() < 1e-7);
    assert_eq!(summary.raters[1].weight, Some(0.0));
    for (id, score) in ranked(&dir.path("out")) {
        let [a, b, _] = ratings(id[1..].parse().unwrap());
        let expected = 2.0 * (a - m0) / s0 + (b - m1) / s1;
        assert!((score - expected).abs() < 1e-9, "{id}: {score} {expected}");
    }
    let best = ranked(&dir.path("out"));
    assert_eq!(summary.best[0].id, best[0].0);
}

/// The whole way: weights are drawn, each run selects by its weights and measures what that is worth, and the fit
/// finds the weights by which a document is worth something.
#[test]
fn planted_weights_are_recovered_from_runs_and_selected_by() {
    let dir = setting();
    let drawn = run(CombineOptions { sample: Some(128), ..options(&dir, "weights.csv") }).unwrap();
    assert_eq!(drawn.drawn, Some(128));
    let table = std::fs::read_to_string(dir.path("weights.csv")).unwrap();
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("run,edu,noise,style"));
    let mut runs = String::from("run,edu,noise,style,loss\n");
    for (line, n) in lines.zip(0u64..) {
        let w: Vec<f64> = line.split(',').skip(1).map(|x| x.parse().unwrap()).collect();
        assert!((w.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        let score = |n: u64| {
            let [edu, style, noise] = ratings(n);
            w[0] * edu + w[1] * noise + w[2] * style
        };
        let mut order: Vec<u64> = (0..1200).collect();
        order.sort_by(|a, b| score(*b).total_cmp(&score(*a)));
        let loss = 4.0 - order[..120].iter().map(|&n| worth(n)).sum::<f64>() / 120.0;
        runs += &format!("{line},{}\n", loss + 0.01 * (unit_open(hash64(9, &n.to_le_bytes())) - 0.5));
    }
    dir.write("runs.csv", &runs);
    let with = |threads, output: &str| {
        let options = CombineOptions {
            runs: Some(dir.at("runs.csv")),
            threads: Some(threads),
            ..options(&dir, output)
        };
        run(options).unwrap()
    };
    let summary = with(1, "combined");
    let weight = |r: &str| summary.raters.iter().find(|x| x.rater == r).unwrap().weight.unwrap();
    assert!((weight("edu") - 0.6).abs() < 0.12 && weight("noise") < 0.12, "{:?}", summary.raters);
    assert!(summary.fit.as_ref().unwrap().held_out.unwrap().spearman > 0.9);
    assert!(summary.optimum.as_ref().unwrap().gain.low > 0.0);
    with(4, "again");
    assert_same(&tree(&dir.path("combined")), &tree(&dir.path("again")), "threads");
    assert_eq!(with(2, "combined").shards.resumed, 2);

    let by = |scores: &str, output: &str| {
        let options = SelectOptions {
            scores: Some(dir.at(scores)),
            budget: Some("120docs".into()),
            ..SelectOptions::new(dir.at("pool").as_str().into(), dir.at(output))
        };
        assert!(select::run(options, &Control::default()).unwrap().complete);
        selected(&dir, output).iter().map(|row| worth(row["n"].as_u64().unwrap())).sum::<f64>() / 120.0
    };
    let (all, edu, style) = (by("combined", "o1"), by("scores/edu", "o2"), by("scores/style", "o3"));
    assert!(all > edu + 0.1 && all > style + 0.1, "{all} {edu} {style}");
}

#[test]
fn a_score_where_low_is_good_is_turned_round_and_a_missing_one_leaves_none() {
    let dir = Dir::new();
    let document = |n: u64| {
        let mut row = json!({"id": format!("d{n}"), "text": "some words of text that vary ".repeat(1 + n as usize % 7), "up": n, "same": 1});
        if n == 5 {
            row.as_object_mut().unwrap().remove("up");
        }
        row
    };
    dir.jsonl("pool/a.jsonl", (0..40).map(document));
    rate(&dir, "up", "scores/up").unwrap();
    let fit = gristmill_score::jobs::FitOptions {
        order: 1,
        discount_fallback: serde_json::from_value(true.into()).unwrap(),
        ..gristmill_score::jobs::FitOptions::new(dir.at("pool").as_str().into(), dir.at("m.gml"))
    };
    gristmill_score::jobs::fit::run(fit, &Control::default()).unwrap();
    let by_model = ScoreOptions {
        model: Some(dir.at("m.gml")),
        ..ScoreOptions::new(dir.at("pool").as_str().into(), dir.at("scores/perplexity"))
    };
    score::run(by_model, &Control::default()).unwrap();
    let weights = Some(BTreeMap::from([("perplexity".to_owned(), 1.0), ("up".to_owned(), 0.0)]));
    let summary = run(CombineOptions { weights, ..options(&dir, "low") }).unwrap();
    assert_eq!(summary.counts.scored.documents, 40, "a rater without weight takes nothing away");
    let (low, combined) = (ranked(&dir.path("scores/perplexity")), ranked(&dir.path("low")));
    let of = |list: &[(String, f64)], id: &str| list.iter().find(|(i, _)| i == id).unwrap().1;
    for pair in combined.windows(2) {
        assert!(of(&low, &pair[0].0) <= of(&low, &pair[1].0), "the lowest perplexity first");
    }
    let weights = Some(BTreeMap::from([("perplexity".to_owned(), 1.0), ("up".to_owned(), 1.0)]));
    let summary = run(CombineOptions { weights, ..options(&dir, "both") }).unwrap();
    assert_eq!(summary.counts.scored.documents, 39);
    assert!(of(&ranked(&dir.path("both")), "d5").is_nan());

    rate(&dir, "same", "scores/same").unwrap();
    let weights = Some(BTreeMap::from([("up".to_owned(), 1.0)]));
    let e = run(CombineOptions { weights, ..options(&dir, "no") }).unwrap_err();
    assert_eq!((e.code(), e.location().column.as_deref()), (Code::InvalidValue, Some("same")));
}

#[test]
fn what_cannot_be_combined_is_refused() {
    let dir = setting();
    let refused = |change: &dyn Fn(&mut CombineOptions)| {
        let mut o = options(&dir, "no");
        change(&mut o);
        run(o).unwrap_err()
    };
    let column = |e: &Error| e.location().column.clone().unwrap_or_default();
    let one = |name: &str, w: f64| Some(BTreeMap::from([(name.to_owned(), w)]));
    assert_eq!(column(&refused(&|_| ())), "runs");
    assert_eq!(column(&refused(&|o| (o.weights, o.sample) = (one("edu", 1.0), Some(3)))), "runs");
    assert_eq!(column(&refused(&|o| o.weights = one("educ", 1.0))), "weights");
    assert_eq!(column(&refused(&|o| o.weights = one("edu", -1.0))), "weights");
    assert_eq!(column(&refused(&|o| o.weights = one("edu", 0.0))), "weights");
    let each = |pairs: &[(&str, &str)]| {
        Raters::Each(pairs.iter().map(|(n, p)| ((*n).to_owned(), dir.at(p))).collect())
    };
    let alone = refused(&|o| (o.scores, o.weights) = (each(&[("edu", "scores/edu")]), one("edu", 1.0)));
    assert_eq!(column(&alone), "scores");
    let nothing = refused(&|o| (o.scores, o.weights) = (Raters::Directory(dir.at("pool")), one("edu", 1.0)));
    assert_eq!(column(&nothing), "scores");
    let gone = refused(&|o| {
        (o.scores, o.weights) = (each(&[("a", "scores/edu"), ("b", "nowhere")]), one("a", 1.0));
    });
    assert_eq!(gone.code(), Code::NotFound);

    let runs = |text: &str| {
        dir.write("runs.csv", text);
        refused(&|o| o.runs = Some(dir.at("runs.csv")))
    };
    assert_eq!(runs("edu,style,loss\n1,0,2\n").code(), Code::MissingColumn);
    let e = runs("edu,style,noise,loss\n0.5,0.2,0.2,2\n");
    assert_eq!((e.code(), e.location().row), (Code::InvalidValue, Some(0)), "weights that do not sum to one");
    assert_eq!(column(&runs("edu,style,noise,x,y\n1,0,0,2,3\n")), "loss");
    assert!(runs("edu,style,noise,loss\n1,0,0,2\n0,1,0,2\n").location().path.is_some());

    let other: Vec<Value> = (0..9).map(|n| json!({"id": n, "text": "words", "edu": n})).collect();
    dir.jsonl("other/a.jsonl", other);
    let elsewhere = ScoreOptions {
        rating: Some("edu".into()),
        ..ScoreOptions::new(dir.at("other").as_str().into(), dir.at("elsewhere"))
    };
    score::run(elsewhere, &Control::default()).unwrap();
    let mixed = refused(&|o| {
        (o.scores, o.weights) = (each(&[("a", "scores/edu"), ("b", "elsewhere")]), one("a", 1.0));
    });
    assert_eq!(mixed.code(), Code::JobMismatch);
    assert!(mixed.message().contains("not of the pool"), "{mixed}");
    let unfinished = ScoreOptions {
        rating: Some("edu".into()),
        worker: Some("0/2".into()),
        ..ScoreOptions::new(dir.at("pool").as_str().into(), dir.at("half"))
    };
    score::run(unfinished, &Control::default()).unwrap();
    let half = refused(&|o| {
        (o.scores, o.weights) = (each(&[("a", "scores/edu"), ("b", "half")]), one("a", 1.0));
    });
    assert!(half.message().contains("no scores of"), "{half}");
}
