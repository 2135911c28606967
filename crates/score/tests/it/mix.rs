//! The search for a mixture, from text to report: what it finds, that it continues, that bytes do not depend on
//! threads, and what it says of input that cannot be searched.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use gristmill_core::{CancelToken, Code, Control, Error};
use gristmill_score::mix_search::{
    ExternalRuns, MixSearchOptions, MixSearchSummary, PredictorChoice, TargetOptions, run,
};

use crate::common::{Dir, rows};

const KINDS: [&str; 6] = ["law", "mail", "code", "news", "poems", "talk"];

/// Six domains of one word distribution each, of which half of the words are shared, and a target that is of the
/// first one.
fn setting() -> (Dir, MixSearchOptions) {
    let dir = Dir::new();
    for (i, kind) in KINDS.iter().enumerate() {
        let n = 120 + 40 * i as u64;
        dir.jsonl(&format!("pool/{kind}.jsonl"), rows(kind, 0, n));
    }
    dir.jsonl("target.jsonl", rows("law", 90_000, 60));
    let target = TargetOptions { name: "law".into(), source: dir.at("target.jsonl").as_str().into() };
    let options = MixSearchOptions {
        domain: Some("kind".into()),
        runs: 32,
        draws: 8_000,
        bags: 3,
        proxy: "ngram:2".into(),
        ..MixSearchOptions::new(dir.at("pool").as_str().into(), vec![target], dir.at("mix.json"))
    };
    (dir, options)
}

fn search(options: &MixSearchOptions) -> MixSearchSummary {
    run(options.clone(), &Control::default()).unwrap()
}

fn refusal(options: MixSearchOptions) -> Error {
    run(options, &Control::default()).unwrap_err()
}

#[test]
fn finds_the_domain_that_the_target_is_of() {
    let (dir, options) = setting();
    let found = search(&MixSearchOptions { plot: Some(dir.at("mix.svg")), ..options });
    let names: Vec<&str> = found.domains.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["code", "law", "mail", "news", "poems", "talk"]);
    let natural: f64 = found.domains.iter().map(|d| d.natural).sum();
    assert!((natural - 1.0).abs() < 1e-9);
    let objective = &found.objectives[0];
    let law = &objective.optimum.domains[1];
    // As much as there is: a run takes a quarter of the pool and uses no document twice.
    assert!(law.weight.value > 0.8 * found.domains[1].most, "{law:?} of {:?}", found.domains[1]);
    assert!(
        objective.optimum.domains.iter().zip(&found.domains).all(|(o, d)| o.weight.value <= d.most + 1e-9)
    );
    assert!(objective.below_natural && objective.below_uniform, "{:?}", objective.check);
    let checked: Vec<&str> = objective.check.iter().map(|c| c.mixture).collect();
    assert_eq!(checked, ["optimum", "best-sampled", "natural", "uniform"]);
    assert!(objective.check.iter().all(|c| c.loss.losses.len() == 3 && c.loss.sd > 0.0));
    // Experts and runs agree on what helps; the report says by how much each predictor is off.
    assert_eq!(found.targets[0].predictors.len(), 7);
    let best = found.targets[0].predictors.iter().map(|p| p.held_out.spearman).fold(0.0, f64::max);
    assert!(best > 0.9, "{:?}", found.targets[0].predictors);

    let report: serde_json::Value = serde_json::from_slice(&fs::read(dir.path("mix.json")).unwrap()).unwrap();
    assert_eq!(report["objectives"][0]["name"], "law");
    assert!(report.get("timings").is_none(), "a report is the same whenever it is made");
    assert!(fs::read_to_string(dir.path("mix.svg")).unwrap().contains("law: optimum"));

    // What other commands read.
    let work = dir.path("mix.runs");
    let runs = gristmill_mix::Runs::read_csv(work.join("mixtures.csv"), work.join("losses.csv")).unwrap();
    assert_eq!((runs.len(), runs.targets()), (32, &["law".to_owned()][..]));
    let model = gristmill_mix::MixtureModel::load(work.join("models/law.json")).unwrap();
    assert_eq!(model.domains(), names);
}

#[test]
fn continues_where_it_was_and_depends_on_no_thread() {
    let (dir, options) = setting();
    search(&MixSearchOptions { threads: Some(2), ..options.clone() });
    let expected = fs::read(dir.path("mix.json")).unwrap();

    let cancel = CancelToken::default();
    let (runs, stop) = (Arc::new(AtomicU64::new(0)), cancel.clone());
    let seen = runs.clone();
    let control = Control::with_cancel(cancel).on_progress(Duration::ZERO, move |p| {
        if p.phase == "runs" {
            seen.fetch_max(p.done, Relaxed);
            if p.done >= 7 {
                stop.cancel();
            }
        }
    });
    let fresh = MixSearchOptions { fresh: true, threads: Some(1), ..options.clone() };
    let e = run(fresh, &control).unwrap_err();
    assert_eq!(e.code(), Code::Aborted);
    assert!(runs.load(Relaxed) < 32, "it stopped before the end");

    let again = search(&MixSearchOptions { threads: Some(1), ..options.clone() });
    let resumed = again.resumed.unwrap();
    assert!((7..32).contains(&resumed), "{resumed}");
    assert!(fs::read(dir.path("mix.json")).unwrap() == expected, "another report");

    // Another predictor makes other fits of the same runs.
    let linear = MixSearchOptions { predictor: PredictorChoice::Linear, ..options.clone() };
    assert_eq!(search(&linear).resumed, Some(32));
    // Another seed makes other runs, which do not mix with these.
    let e = refusal(MixSearchOptions { seed: 1, ..options });
    assert_eq!(e.code(), Code::JobMismatch);
}

#[test]
fn the_domain_may_be_the_file_and_copies_of_the_target_are_left_out() {
    let (dir, options) = setting();
    dir.jsonl("pool/law.jsonl", rows("law", 0, 120).chain(rows("law", 90_000, 5)));
    let found = search(&MixSearchOptions { domain: None, runs: 12, draws: 1000, ..options });
    assert_eq!(found.domains.iter().map(|d| d.name.as_str()).collect::<Vec<_>>().join(" "), {
        let mut names = KINDS;
        names.sort_unstable();
        names.join(" ")
    });
    assert_eq!(found.in_target, 5);
    assert_eq!(found.domains[1].documents, 120);
}

#[test]
fn several_targets_have_an_optimum_each_and_one_for_their_mean() {
    let (dir, mut options) = setting();
    dir.jsonl("mails.jsonl", rows("mail", 90_000, 60));
    options
        .targets
        .push(TargetOptions { name: "mail".into(), source: dir.at("mails.jsonl").as_str().into() });
    let found = search(&MixSearchOptions { runs: 24, draws: 4000, ..options });
    let names: Vec<&str> = found.objectives.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names, ["law", "mail", "mean"]);
    let weight = |o: usize, d: usize| found.objectives[o].optimum.domains[d].weight.value;
    // Each target takes all that there is of its own domain, and the mean of both takes both.
    let all = |o: usize, d: usize| weight(o, d) > 0.9 * found.domains[d].most;
    assert!(all(0, 1) && all(1, 2) && weight(1, 2) > 2.0 * weight(0, 2), "{:?}", found.objectives);
    assert!(weight(2, 1) + weight(2, 2) > 0.5, "the mean wants both");
}

#[test]
fn runs_from_elsewhere_join() {
    let (dir, options) = setting();
    let own = search(&options);
    let csv = |name: &str| dir.at(&format!("mix.runs/{name}"));
    let external = Some(ExternalRuns { mixtures: csv("mixtures.csv"), losses: csv("losses.csv") });
    let joined = MixSearchOptions {
        external: external.clone(),
        output: dir.at("joined.json"),
        seed: 5,
        ..options.clone()
    };
    let joined = search(&joined);
    let theirs = joined.external.unwrap();
    assert_eq!((joined.runs, theirs.runs, joined.targets[0].measured.len()), (32, 32, 64));
    // The same trainer and target: the runs of the one seed foretell those of the other.
    assert!(theirs.agreement[0].spearman > 0.6, "{theirs:?}");

    let alone = MixSearchOptions { external, runs: 0, output: dir.at("alone.json"), ..options.clone() };
    let alone = search(&alone);
    assert_eq!((alone.runs, alone.targets[0].measured.len()), (0, 32));
    assert_eq!(alone.objectives[0].best_sampled.loss, own.objectives[0].best_sampled.loss);

    let wrong = |header: &str| {
        let mixtures = fs::read_to_string(csv("mixtures.csv")).unwrap().replace("law", header);
        let mixtures = dir.write("wrong.csv", mixtures);
        let external = Some(ExternalRuns { mixtures, losses: csv("losses.csv") });
        refusal(MixSearchOptions { external, runs: 0, output: dir.at("w.json"), ..options.clone() })
    };
    assert_eq!(wrong("laws").code(), Code::MissingColumn);
}

#[test]
fn refuses_what_cannot_be_searched() {
    let (dir, options) = setting();
    let with = |change: fn(&mut MixSearchOptions)| {
        let mut o = MixSearchOptions { output: dir.at("bad.json"), ..options.clone() };
        change(&mut o);
        refusal(o)
    };
    dir.jsonl("one.jsonl", rows("law", 80_000, 1));
    let mut one = options.clone();
    one.output = dir.at("one.json");
    one.targets[0].source = dir.at("one.jsonl").as_str().into();
    let e = refusal(one);
    assert_eq!((e.code(), e.location().column.as_deref()), (Code::TargetTooSmall, Some("law")));

    assert_eq!(with(|o| o.domain = Some("genre".into())).code(), Code::MissingColumn);
    let e = with(|o| o.tokens = Some(10_000_000));
    assert_eq!((e.code(), e.location().column.as_deref()), (Code::InvalidArgument, Some("tokens")));
    assert!(e.message().contains("infeasible"), "{e}");
    for (change, option) in [
        ((|o: &mut MixSearchOptions| o.proxy = "gpt:2".into()) as fn(&mut MixSearchOptions), "proxy"),
        (|o| o.proxy = "ngram:9".into(), "proxy"),
        (|o| o.runs = 0, "runs"),
        (|o| o.epochs = 0.0, "epochs"),
        (|o| o.check_seeds = 0, "checkSeeds"),
        (|o| o.targets.clear(), "target"),
        (|o| o.targets.push(o.targets[0].clone()), "target"),
        (|o| o.targets[0].name = "a/b".into(), "target"),
        (|o| o.output = "s3://bucket/mix.json".into(), "output"),
    ] {
        let e = with(change);
        assert_eq!((e.code(), e.location().column.as_deref()), (Code::InvalidArgument, Some(option)), "{e}");
    }
    // Fewer runs than domains teach nothing about all of them.
    assert_eq!(with(|o| o.runs = 4).code(), Code::EmptyInput);
    let mut single = options.clone();
    single.pool = dir.at("pool/law.jsonl").as_str().into();
    single.output = dir.at("single.json");
    assert_eq!(refusal(single).location().column.as_deref(), Some("domain"));
}
