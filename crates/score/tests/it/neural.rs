//! Transformers as the source of losses: small models with random weights, and a tokenizer of words.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, UInt32Type};
use arrow_array::{ListArray, RecordBatch};
use gristmill_core::{CancelToken, Code, Control, Error};
use gristmill_data::read_tables;
use gristmill_lm::{LanguageModel, LoadOptions, Tokens};
use gristmill_score::jobs::{
    FitOptions, Method, NeuralOptions, PerplexityOptions, PerplexitySummary, ScoreOptions, SelectOptions,
    TokenCache, fit, perplexity, score, select,
};
use gristmill_score::memory::{LossModel, MemoryOptions, MemoryScorer, Neural, Recipe};
use gristmill_score::{Bos, Eos, ScoreSpec, Windows};
use serde_json::json;

use crate::common::{Dir, assert_same, tree};

/// Ids of the small models.
const VOCAB: u32 = 199;

/// A folder with one of the small models and a tokenizer whose words are `w0`, `w1` ….
fn model(dir: &Dir, family: &str, name: &str, words: &str) -> String {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lm/tests/fixtures/tiny").join(family);
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap();
        dir.write(&format!("{name}/{file}"), fs::read(&path).unwrap());
    }
    let vocab: serde_json::Map<_, _> = (0..VOCAB).map(|i| (format!("{words}{i}"), json!(i))).collect();
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "post_processor": null, "decoder": null,
        "truncation": null, "padding": null, "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": format!("{words}0")},
    });
    dir.write(&format!("{name}/tokenizer.json"), tokenizer.to_string());
    let ends = json!({"bos_token": format!("{words}1"), "eos_token": format!("{words}2")});
    dir.write(&format!("{name}/tokenizer_config.json"), ends.to_string());
    dir.at(name)
}

/// The ids of a document: some are longer than the windows of the tests.
fn ids(document: u32) -> Vec<u32> {
    let len = [3, 1, 40, 17, 0, 90, 8, 25][document as usize % 8];
    (0..len).map(|i| (i * i * 31 + i * 7 + document * 13) % VOCAB).collect()
}

fn text(document: u32) -> String {
    ids(document).iter().map(|id| format!("w{id}")).collect::<Vec<_>>().join(" ")
}

/// Two shards of documents, and two models that share a tokenizer.
fn setting() -> (Dir, [String; 2]) {
    let dir = Dir::new();
    let rows = |from: u32, to: u32| (from..to).map(|d| json!({"id": format!("d{d}"), "text": text(d)}));
    dir.jsonl("pool/a.jsonl", rows(0, 70));
    dir.jsonl("pool/b.jsonl", rows(70, 96));
    let models = [model(&dir, "llama", "prior", "w"), model(&dir, "qwen2", "conditional", "w")];
    (dir, models)
}

fn options(window: u32) -> NeuralOptions {
    NeuralOptions { window: Some(window), ..NeuralOptions::default() }
}

fn measure(dir: &Dir, model: &str, transformer: NeuralOptions) -> Result<PerplexitySummary, Error> {
    let options =
        PerplexityOptions { transformer, ..PerplexityOptions::new(model, dir.at("pool").as_str().into()) };
    perplexity::run(options, &Control::default())
}

/// Losses of windows that are cut by hand: each is a stream and the targets in it that count.
fn by_hand(model: &str, cut: impl Fn(Vec<u32>) -> Vec<(Vec<u32>, usize)>) -> (f64, u64) {
    let device = gristmill_cpu::open().unwrap();
    let load = LoadOptions { longest: Some(96), ..LoadOptions::default() };
    let model = LanguageModel::load(model, &device, load).unwrap();
    let windows: Vec<_> = (0..96).map(ids).filter(|ids| !ids.is_empty()).flat_map(cut).collect();
    let tokens: Vec<_> = windows.iter().map(|(ids, first)| Tokens { ids, first: *first }).collect();
    let losses = model.losses(&tokens, &Control::default()).unwrap();
    let all = || losses.iter().flatten();
    (all().map(|&x| f64::from(x)).sum(), all().count() as u64)
}

fn close(got: f64, want: f64) {
    assert!((got - want).abs() < 1e-9 * want.abs(), "{got}, expected {want}");
}

#[test]
fn perplexity_by_every_recipe_is_what_its_definition_says() {
    let (dir, [model, _]) = setting();
    let words: u64 = (0..96).map(|d| ids(d).len() as u64).sum();
    let check = |transformer: NeuralOptions, (nll, n): (f64, u64)| {
        let got = measure(&dir, &model, transformer).unwrap();
        assert_eq!((got.n_scored, got.documents, got.n_tokens), (n, 96, words));
        assert_eq!(got.n_bytes, (0..96).map(|d| text(d).len() as u64).sum::<u64>());
        close(got.nll_sum, nll);
        close(got.perplexity, (nll / n as f64).exp());
        close(got.bits_per_byte, nll / got.n_bytes as f64 / std::f64::consts::LN_2);
        assert_eq!(got.spec.dtype.as_deref(), Some("f32"));
        got.spec
    };
    let whole = by_hand(&model, |ids| vec![(ids, 1)]);
    let document = NeuralOptions { recipe: Some(Recipe::Document), ..NeuralOptions::default() };
    assert_eq!(check(document, whole).bos, Bos::SkipFirst);
    // A window as long as the longest document changes nothing.
    check(options(96), whole);

    let strided = by_hand(&model, |ids| match ids.len() {
        0..=24 => vec![(ids, 1)],
        n => {
            let starts = (0..).map(|i| i * 10).take_while(|start| *start == 0 || start + 14 < n);
            starts.map(|s| (ids[s..n.min(s + 24)].to_vec(), if s == 0 { 1 } else { 14 })).collect()
        }
    });
    let transformer = NeuralOptions { stride: Some(10), ..options(24) };
    assert_eq!(check(transformer, strided).windows, Windows::Sliding { tokens: 24, stride: 10 });

    // The marker is `w1`; every document of more than 16 tokens has further windows of 16 targets, each with the token
    // before and, at the end, with as many as fit.
    let rolled = by_hand(&model, |ids| {
        let stream: Vec<u32> = [1].into_iter().chain(ids).collect();
        (1..stream.len())
            .step_by(16)
            .map(|first| {
                let end = stream.len().min(first + 16);
                let start = (end - 1).saturating_sub(16);
                (stream[start..end].to_vec(), first - start)
            })
            .collect()
    });
    assert_eq!(rolled.1, words, "every token is scored");
    let transformer = NeuralOptions { recipe: Some(Recipe::LmEval), ..options(16) };
    assert_eq!(check(transformer, rolled).windows, Windows::Rolling { tokens: 16 });

    let cut = by_hand(&model, |ids| vec![(ids[..ids.len().min(12)].to_vec(), 1)]);
    check(NeuralOptions { recipe: Some(Recipe::Truncated), ..options(12) }, cut);

    let half = NeuralOptions { dtype: Some("bf16".into()), ..options(96) };
    let got = measure(&dir, &model, half).unwrap();
    assert_eq!(got.spec.dtype.as_deref(), Some("bf16"));
    assert!((got.nll_sum / whole.0 - 1.0).abs() < 0.02 && got.nll_sum != whole.0);
}

/// Columns of all score files, in the order of documents.
fn columns(dir: &Dir, output: &str) -> Vec<(String, u32, Vec<f64>)> {
    let mut rows = Vec::new();
    for shard in ["a", "b"] {
        for batch in read_tables(&dir.at(&format!("{output}/{shard}.scores.parquet"))).unwrap() {
            let batch = batch.unwrap();
            let numbers: Vec<_> = ["nll_sum_prior", "nll_sum_conditional", "score"]
                .into_iter()
                .filter_map(|name| Some(batch.column_by_name(name)?.as_primitive::<Float64Type>()))
                .collect();
            for i in 0..batch.num_rows() {
                let id = batch["id"].as_string::<i32>().value(i).to_owned();
                let n = batch["n_scored"].as_primitive::<UInt32Type>().value(i);
                rows.push((id, n, numbers.iter().map(|c| c.value(i)).collect()));
            }
        }
    }
    rows
}

#[test]
fn two_models_in_one_pass_score_and_select_and_go_on_where_they_were() {
    let (dir, [prior, conditional]) = setting();
    let scored = |output: &str, threads: usize, batch_tokens: usize| {
        let options = ScoreOptions {
            prior: Some(prior.clone()),
            conditional: Some(format!("lm:{conditional}")),
            transformer: NeuralOptions { batch_tokens: Some(batch_tokens), ..options(24) },
            threads: Some(threads),
            ..ScoreOptions::new(dir.at("pool").as_str().into(), dir.at(output))
        };
        score::run(options, &Control::default()).unwrap()
    };
    let summary = scored("one", 1, 4096);
    assert_eq!((summary.method, summary.counts.read.documents), (Method::LossReduction, 96));
    assert_eq!(summary.counts.scored.documents, 96 - 12 - 12, "all but those of no token or one");
    assert!(summary.models.iter().all(|m| m.sha256.len() == 64));
    assert!(summary.spec.normalizer.as_ref().unwrap().sha256.is_some());

    // The same bytes whatever the threads and the batches.
    scored("two", 2, 64);
    let files = |output: &str| {
        let mut files = tree(&dir.path(output));
        files.retain(|name, _| name.ends_with(".scores.parquet"));
        files
    };
    assert_same(&files("one"), &files("two"), "threads and batches");
    let again = scored("one", 1, 4096);
    assert_eq!((again.shards.done, again.shards.resumed), (0, 2));

    let rows = columns(&dir, "one");
    assert_eq!(rows.len(), 96);
    for (document, (id, n, numbers)) in (0..).zip(&rows) {
        assert_eq!((id, *n as usize), (&format!("d{document}"), ids(document).len().saturating_sub(1)));
        let [prior, conditional, score] = numbers[..] else { panic!("{numbers:?}") };
        if *n > 0 {
            close(score, (prior - conditional) / f64::from(*n));
        } else {
            assert!(score.is_nan());
        }
    }
    let sums: f64 = rows.iter().map(|r| r.2[0]).sum();
    close(sums, measure(&dir, &prior, options(24)).unwrap().nll_sum);

    let selected = SelectOptions {
        prior: Some(prior.clone()),
        conditional: Some(conditional.clone()),
        transformer: options(24),
        budget: Some("20docs".into()),
        ..SelectOptions::new(dir.at("pool").as_str().into(), dir.at("selected"))
    };
    let summary = select::run(selected, &Control::default()).unwrap();
    assert_eq!(summary.counts.kept.unwrap().documents, 20);
    let mut scores: Vec<f64> = rows.iter().map(|r| r.2[2]).filter(|s| !s.is_nan()).collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    assert_eq!(summary.cut, Some(scores[19]));
}

#[test]
fn what_cannot_be_scored_is_refused_by_its_option() {
    let (dir, [prior, conditional]) = setting();
    let code = |result: Result<PerplexitySummary, Error>| {
        let e = result.unwrap_err();
        (e.code(), e.location().column.clone().unwrap_or_default())
    };
    let invalid = |option: &str| (Code::InvalidArgument, option.to_owned());
    let of = |transformer: NeuralOptions| code(measure(&dir, &prior, transformer));
    assert_eq!(of(options(1)), invalid("window"));
    assert_eq!(of(NeuralOptions { stride: Some(50), ..options(24) }), invalid("stride"));
    let rolling = NeuralOptions { recipe: Some(Recipe::LmEval), stride: Some(5), ..options(24) };
    assert_eq!(of(rolling), invalid("stride"));
    assert_eq!(of(NeuralOptions { dtype: Some("f16".into()), ..options(24) }), invalid("dtype"));
    assert_eq!(of(NeuralOptions { batch_tokens: Some(0), ..options(24) }), invalid("batchTokens"));
    let device = NeuralOptions { device: Some("cuda:7".into()), ..options(24) };
    assert_eq!(of(device).0, Code::DeviceUnavailable);
    let document = NeuralOptions { recipe: Some(Recipe::Document), ..options(24) };
    let e = measure(&dir, &prior, document).unwrap_err();
    assert_eq!(e.code(), Code::InvalidValue);
    assert!(e.location().path.as_deref().is_some_and(|p| p.ends_with("a.jsonl")), "{e}");
    // The first of more than 24 tokens, and not the first of its batch; also where tokens are kept.
    assert_eq!(e.location().row, Some(2), "{e}");
    for token_cache in [None, Some(TokenCache::Beside(true))] {
        let options = ScoreOptions {
            model: Some(prior.clone()),
            transformer: NeuralOptions { recipe: Some(Recipe::Document), ..options(24) },
            token_cache,
            ..ScoreOptions::new(dir.at("pool").as_str().into(), dir.at("refused"))
        };
        let e = score::run(options, &Control::default()).unwrap_err();
        // Two threads: whichever shard was first.
        let first = if e.location().path.as_deref().is_some_and(|p| p.ends_with("a.jsonl")) { 2 } else { 4 };
        assert_eq!((e.code(), e.location().row), (Code::InvalidValue, Some(first)), "{e}");
    }
    let nowhere = format!("lm:{}", dir.at("nowhere"));
    assert_eq!(code(measure(&dir, &nowhere, options(24))).0, Code::NotFound);

    // Another model beside it: an n-gram model, and one with other tokens.
    dir.jsonl("text/a.jsonl", crate::common::rows("x", 0, 300));
    let ngram = dir.at("x.gml");
    fit::run(
        FitOptions { order: 2, ..FitOptions::new(dir.at("text").as_str().into(), &*ngram) },
        &Control::default(),
    )
    .unwrap();
    let compare = |method: Option<Method>, prior: &str, conditional: &str, transformer: NeuralOptions| {
        let options = ScoreOptions {
            prior: Some(prior.into()),
            conditional: Some(conditional.into()),
            method,
            transformer,
            ..ScoreOptions::new(dir.at("pool").as_str().into(), dir.at("refused"))
        };
        let e = score::run(options, &Control::default()).unwrap_err();
        (e.code(), e.location().column.clone().unwrap_or_default())
    };
    assert_eq!(compare(None, &prior, &ngram, options(24)), invalid("conditional"));
    assert_eq!(compare(None, &ngram, &ngram, options(24)), invalid("window"));
    let other = model(&dir, "qwen2", "other", "v");
    assert_eq!(compare(None, &prior, &other, options(24)).0, Code::Unsupported);
    let learns = ScoreOptions {
        model: Some(conditional.clone()),
        normalizer: Some("whitespace/1".into()),
        ..ScoreOptions::new(dir.at("pool").as_str().into(), dir.at("refused"))
    };
    let e = score::run(learns, &Control::default()).unwrap_err();
    assert_eq!(e.location().column.as_deref(), Some("normalizer"));
}

/// Rows of tokens in a table, under two models that read the same batches: what each row gives alone, under each model
/// alone; and the row that is wrong.
#[test]
fn rows_of_tokens_share_batches_and_change_nothing() {
    let (_dir, paths) = setting();
    let device = gristmill_cpu::open().unwrap();
    let neural = |paths: &[&str]| {
        Arc::new(Neural::load(paths, &device, options(24), &Control::default()).unwrap())
            as Arc<dyn LossModel>
    };
    let scored = |paths: &[&str], rows: Vec<Option<Vec<Option<u32>>>>| {
        let tokens = Arc::new(ListArray::from_iter_primitive::<UInt32Type, _, _>(rows)) as _;
        let batch = RecordBatch::try_from_iter([("t", tokens)]).unwrap();
        let method = if paths.len() == 1 { Method::Perplexity } else { Method::LossReduction };
        let spec = ScoreSpec {
            bos: Bos::SkipFirst,
            eos: Eos::None,
            windows: Windows::Sliding { tokens: 24, stride: 12 },
            ..ScoreSpec::of(method)
        };
        let options =
            MemoryOptions { spec: Some(spec), tokens: Some("t".into()), ..MemoryOptions::default() };
        MemoryScorer::new(options, Some(neural(paths))).unwrap().score(&batch, &Control::default())
    };
    let sums = |batch: &RecordBatch, name: &str| {
        batch[name].as_primitive::<Float64Type>().iter().map(|x| x.map(f64::to_bits)).collect::<Vec<_>>()
    };
    let rows: Vec<_> = (0..150).map(|d| Some(ids(d).into_iter().map(Some).collect())).collect();
    let both = scored(&[&paths[0], &paths[1]], rows.clone()).unwrap();
    for (path, name) in paths.iter().zip(["nll_sum_prior", "nll_sum_conditional"]) {
        let of_one = scored(&[path], rows.clone()).unwrap();
        assert_eq!(sums(&both, name), sums(&of_one, "nll_sum"), "{name}");
        for row in [0, 2, 73, 149] {
            let alone = scored(&[path], rows[row..=row].to_vec()).unwrap();
            assert_eq!(sums(&alone, "nll_sum")[0], sums(&of_one, "nll_sum")[row], "row {row}");
        }
    }
    let mut wrong = rows;
    wrong[101] = Some(vec![Some(1), Some(VOCAB + 100_000)]);
    let e = scored(&[&paths[0]], wrong).unwrap_err();
    assert_eq!((e.code(), e.location().row), (Code::InvalidValue, Some(101)), "{e}");
    assert_eq!(e.location().column.as_deref(), Some("t"));
}

#[test]
fn a_job_stops_between_batches() {
    let (dir, [prior, _]) = setting();
    let cancel = CancelToken::default();
    cancel.cancel();
    let options = PerplexityOptions::new(prior, dir.at("pool").as_str().into());
    let e = perplexity::run(options, &Control::with_cancel(cancel)).unwrap_err();
    assert_eq!(e.code(), Code::Aborted);
}
