//! Every kind of bad input, by name, through the jobs: a typed error that says where, or a quarantine file and a
//! result that accounts for it; never a crash, a hang or a silent loss.

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch, StringArray};
use gristmill_core::{Code, Control, Error};
use gristmill_score::jobs::{
    DuplicateIds, FitOptions, OnError, Reason, ScoreOptions, ScoreSummary, SelectOptions, SourceOptions, fit,
};
use serde_json::{Value, json};

use crate::common::{Dir, rows, tree};
use crate::{score, select};

/// A directory with a small model `m.gml`.
fn with_model() -> Dir {
    let dir = Dir::new();
    dir.jsonl("corpus.jsonl", rows("x", 0, 200));
    let options = FitOptions {
        order: 2,
        discount_fallback: serde_json::from_value(true.into()).unwrap(),
        ..FitOptions::new(dir.at("corpus.jsonl").as_str().into(), dir.at("m.gml"))
    };
    fit::run(options, &Control::default()).unwrap();
    dir
}

fn scoring(dir: &Dir, on_error: OnError) -> ScoreOptions {
    ScoreOptions {
        model: Some(dir.at("m.gml")),
        on_error,
        threads: Some(2),
        ..ScoreOptions::new(dir.at("pool").as_str().into(), dir.at("out"))
    }
}

fn fails(dir: &Dir) -> Error {
    let e = score::run(scoring(dir, OnError::Fail)).unwrap_err();
    let left: Vec<_> = tree(&dir.path("out")).into_keys().filter(|n| !n.starts_with("_gristmill")).collect();
    assert!(left.iter().all(|n| n == "good.scores.parquet"), "{left:?}");
    e
}

fn quarantines(dir: &Dir) -> (ScoreSummary, Vec<Value>) {
    let summary = score::run(scoring(dir, OnError::Quarantine)).unwrap();
    summary.counts.check().unwrap();
    let mut records = Vec::new();
    for (_, text) in tree(&dir.path("out")).into_iter().filter(|(n, _)| n.starts_with("_quarantine/")) {
        let text = String::from_utf8(text).unwrap();
        records.extend(text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()));
    }
    assert!(!records.is_empty(), "what was put aside is written down");
    (summary, records)
}

fn parquet(texts: usize) -> Vec<u8> {
    let rows: Vec<_> = rows("x", 0, texts as u64).collect();
    let column = |name: &str| StringArray::from_iter_values(rows.iter().map(|r| r[name].as_str().unwrap()));
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(column("id")) as _),
        ("text", Arc::new(column("text")) as _),
    ])
    .unwrap();
    let mut out = Vec::new();
    let zstd = parquet::basic::Compression::ZSTD(Default::default());
    let properties = parquet::file::properties::WriterProperties::builder().set_compression(zstd).build();
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(&mut out, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    out
}

#[test]
fn truncated_parquet() {
    let dir = with_model();
    let whole = parquet(300);
    dir.write("pool/bad.parquet", &whole[..whole.len() * 2 / 3]);
    dir.jsonl("pool/good.jsonl", rows("x", 0, 10));
    let e = fails(&dir);
    assert_eq!(e.code(), Code::CorruptData);
    assert!(e.location().path.as_ref().unwrap().ends_with("bad.parquet"));
    let (summary, records) = quarantines(&dir);
    assert_eq!((summary.counts.scored.documents, summary.damaged, records.len()), (10, 1, 1));
    assert_eq!(records[0]["code"], "CORRUPT_DATA");
}

#[test]
fn bit_flipped_parquet() {
    let dir = with_model();
    let good = parquet(300);
    dir.jsonl("pool/good.jsonl", rows("x", 0, 10));
    let (mut refused, mut tried) = (0, 0);
    // Data pages, page headers and the footer.
    for at in (4..good.len()).step_by(good.len() / 25) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        dir.write("pool/bad.parquet", bytes);
        tried += 1;
        let fresh = |on_error| ScoreOptions { fresh: true, ..scoring(&dir, on_error) };
        match score::run(fresh(OnError::Fail)) {
            Err(e) => {
                refused += 1;
                let bad = [Code::CorruptData, Code::InvalidUtf8, Code::MissingColumn, Code::WrongType];
                assert!(bad.contains(&e.code()), "byte {at}: {e:?}");
                assert!(e.location().path.as_ref().unwrap().ends_with("bad.parquet"), "byte {at}: {e:?}");
            }
            // A letter became another one: nothing in the file says otherwise.
            Ok(summary) => assert_eq!(summary.counts.scored.documents, 310, "byte {at}"),
        }
        let summary = score::run(fresh(OnError::Quarantine)).unwrap();
        let quarantined = summary.counts.dropped.get(&Reason::Quarantined).map_or(0, |c| c.documents);
        let known = summary.counts.scored.documents + quarantined;
        assert!(known == 310 || (known >= 10 && summary.damaged > 0), "byte {at}: {summary:?}");
    }
    assert!(refused * 4 > tried, "{refused} of {tried} show: pages without checksums hide the rest");
}

#[test]
fn truncated_and_bit_flipped_gzip() {
    for damage in ["truncated", "flipped"] {
        let dir = with_model();
        dir.jsonl("pool/bad.jsonl.gz", rows("x", 0, 300));
        let mut bytes = std::fs::read(dir.path("pool/bad.jsonl.gz")).unwrap();
        match damage {
            "truncated" => bytes.truncate(bytes.len() * 2 / 3),
            _ => {
                let at = bytes.len() * 2 / 3;
                bytes[at] ^= 0x10;
            }
        }
        dir.write("pool/bad.jsonl.gz", bytes);
        dir.jsonl("pool/good.jsonl", rows("x", 0, 10));
        let e = fails(&dir);
        assert!(matches!(e.code(), Code::CorruptData | Code::InvalidUtf8), "{damage}: {e}");
        assert!(e.location().path.as_ref().unwrap().ends_with("bad.jsonl.gz"));
        let (summary, _) = quarantines(&dir);
        let scored = summary.counts.scored.documents;
        assert!((50..=310).contains(&scored) && summary.damaged >= 1, "{damage}: {scored}");
    }
}

#[test]
fn invalid_utf8_and_broken_lines() {
    let dir = with_model();
    let mut bytes =
        b"{\"id\": \"1\", \"text\": \"fine\"}\n{\"id\": \"2\", \"text\": \"\xff\xfe\"}\n".to_vec();
    bytes.extend(b"{\"id\": \"3\", \"text\": \"cut short\n{\"id\": \"4\", \"text\": \"fine again\"}\n");
    dir.write("pool/bad.jsonl", bytes);
    let e = fails(&dir);
    assert_eq!((e.code(), e.location().row), (Code::InvalidUtf8, Some(1)), "{e}");
    let (summary, records) = quarantines(&dir);
    assert_eq!(summary.counts.scored.documents, 2);
    assert_eq!(summary.counts.dropped[&Reason::Quarantined].documents, 2);
    assert!(records[0]["rawBase64"].is_string() && records[1]["raw"].is_string(), "{records:?}");
}

#[test]
fn a_missing_or_wrongly_typed_column() {
    let dir = with_model();
    dir.jsonl("pool/a.jsonl", rows("x", 0, 3));
    let named = |column: &str, output: &str| {
        let text = Some(column.to_owned());
        let pool = SourceOptions { text, ..dir.at("pool").as_str().into() };
        score::run(ScoreOptions { pool, output: dir.at(output), ..scoring(&dir, OnError::Fail) })
    };
    let e = named("body", "1").unwrap_err();
    assert_eq!((e.code(), e.location().column.as_deref()), (Code::MissingColumn, Some("body")), "{e}");

    let column: Int64Array = (0..4).collect();
    let batch = RecordBatch::try_from_iter([("body", Arc::new(column) as _)]).unwrap();
    let mut out = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut out, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    std::fs::remove_file(dir.path("pool/a.jsonl")).unwrap();
    dir.write("pool/a.parquet", out);
    let e = named("body", "2").unwrap_err();
    assert_eq!((e.code(), e.location().column.as_deref()), (Code::WrongType, Some("body")), "{e}");
}

#[test]
fn a_document_of_a_hundred_megabytes() {
    let dir = with_model();
    let word = "mill stone water wheel corn 123 ";
    let long = word.repeat(100_000_000 / word.len() + 1);
    dir.jsonl(
        "pool/a.jsonl",
        [json!({"id": "short", "text": "a short one"}), json!({"id": "long", "text": long})],
    );
    let summary = score::run(scoring(&dir, OnError::Fail)).unwrap();
    assert_eq!(summary.counts.scored.documents, 2);
    assert_eq!(summary.counts.scored.bytes, long.len() as u64 + 11);
    assert_eq!(summary.counts.scored.tokens, 3 + 6 * (long.len() / word.len()) as u64);
    assert!(summary.best.iter().chain(&summary.worst).all(|e| e.text.chars().count() <= 240));
}

#[test]
fn duplicate_ids() {
    let dir = select::setting();
    dir.jsonl("pool/again.jsonl", rows("wanted", 3, 1).chain(rows("noise", 7000, 2)));
    dir.jsonl("pool/z.jsonl", rows("other", 1005, 2));
    let all = |o: SelectOptions| SelectOptions { budget: Some("100%".into()), ..o };
    let e = select::run(all(select::options(&dir, "out"))).unwrap_err();
    assert_eq!(e.code(), Code::DuplicateId);
    // The second place is the error's, the first is named in its message.
    assert!(
        e.location().path.as_ref().unwrap().ends_with("again.jsonl") && e.location().row == Some(0),
        "{e}"
    );
    assert!(e.message().contains("wanted-3") && e.message().contains("a.jsonl, row 3"), "{e}");
    // The scores are there: the job continues under another rule.
    let drop = SelectOptions { duplicate_ids: Some(DuplicateIds::Drop), ..all(select::options(&dir, "out")) };
    let summary = select::run(drop.clone()).unwrap();
    assert_eq!((summary.shards.done, summary.shards.resumed), (0, 6));
    assert_eq!(summary.counts.dropped[&Reason::DuplicateId].documents, 3);
    assert_eq!(summary.counts.kept.unwrap().documents, 727);
    // What was selected under one rule is not continued under another.
    let keep = SelectOptions { duplicate_ids: Some(DuplicateIds::Keep), ..drop.clone() };
    assert_eq!(select::run(keep.clone()).unwrap_err().code(), Code::JobMismatch);
    let kept = select::run(SelectOptions { output: dir.at("keep"), ..keep }).unwrap();
    assert_eq!(kept.counts.kept.unwrap().documents, 730);
    let quarantine = SelectOptions {
        on_error: OnError::Quarantine,
        output: dir.at("quarantine"),
        duplicate_ids: None,
        ..drop
    };
    let summary = select::run(quarantine).unwrap();
    assert_eq!(summary.counts.dropped[&Reason::DuplicateId].documents, 3);
}

#[test]
fn zero_matching_files() {
    let dir = with_model();
    let pool =
        |name: &str| ScoreOptions { pool: dir.at(name).as_str().into(), ..scoring(&dir, OnError::Fail) };
    std::fs::create_dir(dir.path("empty")).unwrap();
    for name in ["no/such/*.jsonl", "no-such.jsonl", "empty"] {
        assert_eq!(score::run(pool(name)).unwrap_err().code(), Code::NotFound, "{name}");
    }
    let none = ScoreOptions { pool: SourceOptions::default(), ..scoring(&dir, OnError::Fail) };
    assert_eq!(score::run(none).unwrap_err().code(), Code::InvalidArgument);
    assert!(!dir.path("out").exists());
}

#[test]
fn an_output_that_cannot_be_written() {
    let dir = with_model();
    dir.jsonl("pool/a.jsonl", rows("x", 0, 3));
    // A file where a directory is needed; works for the superuser as well, unlike permissions.
    dir.write("file", "not a directory");
    let into = |name: &str| ScoreOptions { output: dir.at(name), ..scoring(&dir, OnError::Fail) };
    for name in ["file", "file/below"] {
        let e = score::run(into(name)).unwrap_err();
        assert!(matches!(e.code(), Code::Io | Code::InvalidArgument), "{e}");
        assert!(e.location().path.as_ref().unwrap().contains("file"), "{e}");
    }
    let model = FitOptions {
        order: 2,
        discount_fallback: serde_json::from_value(true.into()).unwrap(),
        ..FitOptions::new(dir.at("corpus.jsonl").as_str().into(), dir.at("file/m.gml"))
    };
    assert_eq!(fit::run(model, &Control::default()).unwrap_err().code(), Code::Io);
    // What somebody else left there is not overwritten.
    dir.write("out/a.scores.parquet", "precious");
    let e = score::run(into("out")).unwrap_err();
    assert_eq!(e.code(), Code::InvalidArgument, "{e}");
    assert_eq!(std::fs::read(dir.path("out/a.scores.parquet")).unwrap(), b"precious");
}

#[test]
fn a_hostile_or_truncated_model() {
    let dir = with_model();
    dir.jsonl("pool/a.jsonl", rows("x", 0, 3));
    let good = std::fs::read(dir.path("m.gml")).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let forged_arpa = b"\\data\\\nngram 1=4000000000\nngram 2=9\n\n\\1-grams:\n-1\t<unk>\n".to_vec();
    let mut kenlm = b"mmap lm http://kheafield.com/code format version 5\n\0\0".to_vec();
    kenlm.resize(4096, 0xff);
    for (name, bytes) in [
        ("truncated", good[..good.len() / 2].to_vec()),
        ("flipped", flipped),
        ("forged ARPA", forged_arpa),
        ("forged KenLM", kenlm),
        ("text", b"this is no model".to_vec()),
        ("empty", Vec::new()),
    ] {
        let model = Some(dir.write("bad.gml", bytes));
        let e = score::run(ScoreOptions { model, ..scoring(&dir, OnError::Fail) }).unwrap_err();
        assert_eq!(e.code(), Code::InvalidModel, "{name}: {e}");
        assert!(e.location().path.as_ref().unwrap().ends_with("bad.gml"), "{name}: {e}");
    }
    let model = Some(dir.at("absent.gml"));
    let e = score::run(ScoreOptions { model, ..scoring(&dir, OnError::Fail) }).unwrap_err();
    assert_eq!(e.code(), Code::NotFound);
    assert!(!dir.path("out").exists(), "nothing was begun");
}

#[test]
fn a_target_with_too_little_text() {
    let dir = select::setting();
    for (name, texts) in [
        ("nothing", vec![json!({"text": null}), json!({"text": " "})]),
        ("a sentence", vec![json!({"text": "only this one sentence"})]),
    ] {
        dir.jsonl("target.jsonl", texts);
        for method in ["loss-reduction", "dsir"] {
            let method = serde_json::from_value(method.into()).unwrap();
            let out = format!("{name} {method:?}");
            let e = select::run(SelectOptions { method: Some(method), ..select::options(&dir, &out) })
                .unwrap_err();
            assert_eq!(
                (e.code(), e.location().column.as_deref()),
                (Code::TargetTooSmall, Some("target")),
                "{e}"
            );
            assert!(e.message().contains("500"), "the message says how much it takes: {e}");
        }
    }
}

#[test]
fn a_pool_without_text() {
    let dir = select::setting();
    dir.jsonl("blank/a.jsonl", [json!({"text": ""}), json!({"text": null})]);
    for method in ["loss-reduction", "dsir"] {
        let o = SelectOptions {
            pool: dir.at("blank").as_str().into(),
            method: serde_json::from_value(method.into()).unwrap(),
            ..select::options(&dir, method)
        };
        let e = select::run(o).unwrap_err();
        assert_eq!((e.code(), e.location().column.as_deref()), (Code::EmptyInput, Some("pool")), "{e}");
    }
}

#[test]
fn an_input_column_with_the_name_of_ours() {
    let dir = select::setting();
    dir.jsonl(
        "pool/scored.jsonl",
        rows("other", 7000, 3).map(|mut row| {
            row["score"] = 1.into();
            row
        }),
    );
    let e = select::run(select::options(&dir, "out")).unwrap_err();
    assert_eq!((e.code(), e.location().column.as_deref()), (Code::InvalidArgument, Some("score")), "{e}");
    assert!(!dir.path("out").exists(), "noticed before the work began");
    select::run(SelectOptions { prefix: "our_".into(), ..select::options(&dir, "out") }).unwrap();
}

#[test]
fn an_input_that_vanishes() {
    let dir = select::setting();
    let options = SelectOptions { budget: Some("100%".into()), ..select::options(&dir, "out") };
    let control = Control::default().on_progress(std::time::Duration::ZERO, {
        let gone = dir.path("pool/e.jsonl");
        move |p| {
            if p.phase == "write" {
                let _ = std::fs::remove_file(&gone);
            }
        }
    });
    let e = gristmill_score::jobs::select::run(options, &control).unwrap_err();
    assert_eq!(e.code(), Code::NotFound, "{e}");
    assert!(e.location().path.as_ref().unwrap().ends_with("e.jsonl"));
}
