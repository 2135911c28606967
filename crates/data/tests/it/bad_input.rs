//! Every kind of bad input by name: a typed error that says where, or a record in quarantine.

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Float64Array, Int32Array, RecordBatch, StringArray};
use gristmill_core::{Code, Control};
use gristmill_data::{Corpus, OnError, Quarantined, Raw, ReadOptions, Source};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use crate::support::*;

fn code_of(q: &Quarantined) -> (&str, Option<u64>) {
    (q.code, q.row)
}

#[test]
fn no_file_matches() {
    let d = dir();
    put(d.path(), "a.bin", "x");
    for input in ["", "*.jsonl", "none/*.jsonl", "missing.jsonl", "missing/"] {
        let e = failure(source(d.path().join(input)));
        assert_eq!(e.code(), Code::NotFound, "{input}: {e}");
    }
    assert_eq!(failure(Source::default()).code(), Code::EmptyInput);
    assert_eq!(failure(Source::new(["x["])).code(), Code::InvalidArgument);
    assert_eq!(failure(Source::new(["ftp://host/x.jsonl"])).code(), Code::InvalidArgument);
}

#[test]
fn unknown_format() {
    let d = dir();
    let e = failure(source(put(d.path(), "picture", b"\x89PNG\r\n\x1a\n\0\0")));
    assert_eq!(e.code(), Code::Unsupported);
    assert!(e.hint_text().unwrap().contains("--format"));
}

#[test]
#[cfg(unix)]
fn unreadable_file() {
    use std::os::unix::fs::PermissionsExt;
    let d = dir();
    put(d.path(), "a.jsonl", lines(2));
    // A link to nowhere fails for everyone; a file without permissions only for those who need some.
    std::os::unix::fs::symlink("gone", d.path().join("b.jsonl.gz")).unwrap();
    let e = failure(source(d.path()));
    assert_eq!(
        (e.code(), e.location().path.as_deref()),
        (Code::NotFound, d.path().join("b.jsonl.gz").to_str())
    );
    let got = read(quarantine(d.path())).unwrap();
    assert_eq!((got.texts.len(), got.stats.damaged, got.aside[0].code), (2, 1, "NOT_FOUND"));

    let path = put(d.path(), "c/c.jsonl", lines(2));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::File::open(&path).is_ok() {
        eprintln!("skipped the rest: this user reads everything");
        return;
    }
    assert_eq!(failure(source(&path)).code(), Code::Io);
    assert_eq!(read(quarantine(&path)).unwrap().aside[0].code, "IO");
}

#[test]
fn file_that_vanishes_after_it_was_found() {
    let d = dir();
    put(d.path(), "a.jsonl", lines(2));
    let gone = put(d.path(), "b.parquet", parquet(&table(2)));
    for on_error in [OnError::Fail, OnError::Quarantine] {
        std::fs::write(&gone, parquet(&table(2))).unwrap();
        let corpus = open(Source { on_error, ..source(d.path()) });
        std::fs::remove_file(&gone).unwrap();
        match (on_error, batches(&corpus, 1, ReadOptions::default())) {
            (OnError::Fail, Err(e)) => assert_eq!(e.code(), Code::NotFound),
            (OnError::Quarantine, Ok((b, stats))) => {
                assert_eq!((stats.damaged, b[0].quarantined[0].code), (1, "NOT_FOUND"))
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn truncated_gzip() {
    let d = dir();
    let whole = gzip(lines(5000));
    let path = put(d.path(), "a.jsonl.gz", &whole[..whole.len() / 2]);
    let e = failure(source(&path));
    assert_eq!((e.code(), e.location().path.as_deref()), (Code::CorruptData, path.to_str()));
    assert!(e.message().contains("truncated") && e.location().row.unwrap() > 1000, "{e}");
    let got = read(quarantine(&path)).unwrap();
    let n = got.texts.len() as u64;
    assert!(n > 1000 && n < 5000, "documents before the damage are kept: {n}");
    assert_eq!(got.aside.iter().map(code_of).collect::<Vec<_>>(), [("CORRUPT_DATA", Some(n))]);
    assert_eq!((got.stats.damaged, got.stats.quarantined), (1, 0));
    // The same documents at every reading.
    assert_eq!(read(quarantine(&path)).unwrap(), got);
}

#[test]
fn truncated_inside_the_gzip_trailer() {
    let d = dir();
    let whole = gzip(lines(100));
    let e = failure(source(put(d.path(), "a.jsonl.gz", &whole[..whole.len() - 3])));
    assert_eq!(e.code(), Code::CorruptData);
}

/// Flips one bit at every `step`-th byte. A few bits mean nothing to a decoder (a time, a window larger than
/// needed): then the documents must be the same. Otherwise there must be an error, and a record.
fn flips_never_change_a_document(name: &str, whole: &[u8], step: usize) {
    let d = dir();
    let sound = read(source(put(d.path(), name, whole))).unwrap();
    let mut noticed = 0;
    for at in (0..whole.len()).step_by(step) {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 1 << (at % 8);
        let path = put(d.path(), name, bytes);
        match read(source(&path)) {
            Ok(got) => assert_eq!(got, sound, "{name}, byte {at}"),
            Err(e) => {
                noticed += 1;
                assert!(!matches!(e.code(), Code::Internal | Code::Io), "{name}, byte {at}: {e}");
                let got = read(quarantine(&path)).unwrap();
                assert!(got.stats.damaged + got.stats.quarantined > 0, "{name}, byte {at}: a silent loss");
            }
        }
    }
    assert!(noticed > whole.len() / step - 10, "{noticed}");
}

#[test]
fn bit_flipped_gzip_never_passes() {
    flips_never_change_a_document("a.jsonl.gz", &gzip(lines(300)), 17);
}

#[test]
fn bit_flipped_zstd_never_passes() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    std::io::Write::write_all(&mut encoder, lines(300).as_bytes()).unwrap();
    flips_never_change_a_document("a.jsonl.zst", &encoder.finish().unwrap(), 7);
}

#[test]
fn truncated_zstd() {
    let d = dir();
    let whole = zstd(lines(5000));
    let path = put(d.path(), "a.jsonl.zst", &whole[..whole.len() / 2]);
    let e = failure(source(&path));
    assert_eq!(e.code(), Code::CorruptData);
    let got = read(quarantine(&path)).unwrap();
    assert_eq!((got.stats.damaged, got.aside[0].row), (1, Some(got.texts.len() as u64)));
}

#[test]
fn garbage_after_gzip() {
    let d = dir();
    let bytes = [gzip(lines(10)), b"garbage".to_vec()].concat();
    let path = put(d.path(), "a.jsonl.gz", bytes);
    assert_eq!(failure(source(&path)).code(), Code::CorruptData);
    let got = read(quarantine(&path)).unwrap();
    assert_eq!((got.texts.len(), got.stats.damaged), (10, 1));
}

#[test]
fn empty_files() {
    let d = dir();
    for name in ["a.jsonl", "a.txt", "nothing-known"] {
        let got = read(Source { lines: true, ..source(put(d.path(), name, "")) }).unwrap();
        assert_eq!(got.stats.read, 0, "{name}");
    }
    let got = read(source(put(d.path(), "a.jsonl.gz", gzip("")))).unwrap();
    assert_eq!(got.stats.read, 0);
    for name in ["b.jsonl.gz", "b.jsonl.zst", "b.parquet", "b.arrow"] {
        let path = put(d.path(), name, "");
        assert_eq!(failure(source(&path)).code(), Code::CorruptData, "{name}");
        assert_eq!(read(quarantine(&path)).unwrap().stats.damaged, 1, "{name}");
    }
}

#[test]
fn invalid_utf8_in_a_line() {
    let d = dir();
    let bad = b"{\"text\":\"caf\xe9\",\"id\":\"x\"}";
    let path =
        put(d.path(), "a.jsonl", [&b"{\"text\":\"ok\"}\n"[..], bad, b"\n{\"text\":\"also\"}\n"].concat());
    let e = failure(source(&path));
    assert_eq!((e.code(), e.location().row), (Code::InvalidUtf8, Some(1)));
    let got = read(quarantine(&path)).unwrap();
    assert_eq!(got.texts(), ["ok", "also"]);
    assert_eq!(code_of(&got.aside[0]), ("INVALID_UTF8", Some(1)));
    assert_eq!(got.aside[0].raw, Raw::Bytes(bad.to_vec()));
    let mut line = Vec::new();
    got.aside[0].write_to(&mut line).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&line).unwrap();
    let raw = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        json["rawBase64"].as_str().unwrap(),
    );
    assert_eq!(
        (raw.unwrap(), json["row"].as_u64(), json["path"].as_str()),
        (bad.to_vec(), Some(1), path.to_str())
    );
}

#[test]
fn invalid_utf8_in_another_field_is_not_let_through() {
    let d = dir();
    let path = put(d.path(), "a.jsonl", b"{\"text\":\"ok\",\"other\":\"\xff\"}\n");
    assert_eq!(failure(source(path)).code(), Code::InvalidUtf8);
}

#[test]
fn invalid_utf8_in_plain_text() {
    let d = dir();
    let path = put(d.path(), "a.txt", b"one\ntw\xff\nthree\n");
    assert_eq!(failure(source(&path)).code(), Code::InvalidUtf8);
    let got = read(Source { lines: true, ..quarantine(&path) }).unwrap();
    assert_eq!((got.texts(), got.aside[0].row), (vec!["one", "three"], Some(1)));
}

/// A Parquet file whose column is declared to be text and is not.
fn parquet_with_bytes(values: &[&[u8]], groups: usize) -> Vec<u8> {
    let schema = Arc::new(
        parse_message_type("message m { required binary text (UTF8); required binary id (UTF8); }").unwrap(),
    );
    let mut w =
        SerializedFileWriter::new(Vec::new(), schema, Arc::new(WriterProperties::builder().build())).unwrap();
    for group in values.chunks(values.len().div_ceil(groups)) {
        let mut g = w.next_row_group().unwrap();
        for ids in [false, true] {
            let id = |i: usize| ByteArray::from(format!("id{i}").into_bytes());
            let column =
                group.iter().enumerate().map(|(i, v)| if ids { id(i) } else { ByteArray::from(v.to_vec()) });
            let mut c = g.next_column().unwrap().unwrap();
            c.typed::<ByteArrayType>().write_batch(&column.collect::<Vec<_>>(), None, None).unwrap();
            c.close().unwrap();
        }
        g.close().unwrap();
    }
    w.into_inner().unwrap()
}

#[test]
fn invalid_utf8_in_parquet() {
    let d = dir();
    let path = put(d.path(), "a.parquet", parquet_with_bytes(&[b"a", b"b", b"c", b"caf\xe9", b"e", b"f"], 2));
    let e = failure(source(&path));
    let at = e.location();
    assert_eq!(
        (e.code(), at.row_group, at.row, at.column.as_deref()),
        (Code::InvalidUtf8, Some(1), Some(3), Some("text"))
    );
    for options in [ReadOptions::default(), ReadOptions::all(), ReadOptions::rows(vec![0, 3, 5])] {
        let got = read_with(quarantine(&path), options.clone()).unwrap();
        let expected = if options.rows.is_some() { vec!["a", "f"] } else { vec!["a", "b", "c", "e", "f"] };
        assert_eq!(got.texts(), expected);
        assert_eq!(
            (code_of(&got.aside[0]), &got.aside[0].raw),
            (("INVALID_UTF8", Some(3)), &Raw::Bytes(b"caf\xe9".to_vec()))
        );
    }
}

#[test]
fn invalid_json_line() {
    let d = dir();
    let bad = [
        "{\"text\":\"x\"",
        "nonsense",
        "[1]",
        "\"text\"",
        "{\"text\":\"x\"}}",
        "{\"text\":\"\\ud800\"}",
        "{\"text\":1e}",
    ];
    for bad in bad {
        let path = put(d.path(), "a.jsonl", format!("{{\"text\":\"ok\"}}\n{bad}\n{{\"text\":\"also\"}}\n"));
        let e = failure(source(&path));
        assert_eq!((e.code(), e.location().row), (Code::CorruptData, Some(1)), "{bad}: {e}");
        let got = read(quarantine(&path)).unwrap();
        assert_eq!((got.texts(), &got.aside[0].raw), (vec!["ok", "also"], &Raw::Text(bad.into())), "{bad}");
    }
}

#[test]
fn json_that_is_not_jsonl_says_so() {
    let d = dir();
    let e = failure(source(put(d.path(), "a.json", "[\n{\"text\":\"x\"}\n]\n")));
    assert!(e.hint_text().unwrap().contains("array"), "{e}");
    let e = failure(source(put(d.path(), "b.json", "{\n\"text\":\"x\"\n}\n")));
    assert!(e.hint_text().unwrap().contains("one object a line"), "{e}");
}

#[test]
fn missing_column() {
    let d = dir();
    let t = table(3);
    let files = [
        put(d.path(), "a.jsonl", lines(3)),
        put(d.path(), "a.parquet", parquet(&t)),
        put(d.path(), "a.arrow", arrow_file(&[t])),
    ];
    for path in files {
        for (role, named) in [
            ("text", Source { text: Some("nope".into()), ..source(&path) }),
            ("id", Source { id: Some("nope".into()), ..source(&path) }),
            ("group", Source { group: Some("nope".into()), ..source(&path) }),
            ("filter", Source { filter: Some("nope == 1".into()), ..source(&path) }),
        ] {
            let e = failure(named.clone());
            assert_eq!(
                (e.code(), e.location().column.as_deref()),
                (Code::MissingColumn, Some("nope")),
                "{role} {path:?}"
            );
            assert!(e.hint_text().unwrap().contains("lang"), "{e}");
            let got = read(Source { on_error: OnError::Quarantine, ..named }).unwrap();
            assert_eq!((got.texts.len(), got.stats.damaged), (0, 1));
        }
    }
    let e = failure(Source { text: Some("body".into()), ..source(put(d.path(), "a.txt", "x")) });
    assert_eq!(e.code(), Code::MissingColumn);
}

#[test]
fn no_column_that_could_be_the_text() {
    let d = dir();
    let e = failure(source(put(d.path(), "a.jsonl", "{\"title\":\"x\",\"story\":\"y\"}\n")));
    assert_eq!(e.code(), Code::MissingColumn);
    assert!(e.hint_text().unwrap().contains("title, story"), "{e}");
}

#[test]
fn wrongly_typed_column() {
    let d = dir();
    let numbers = Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef;
    let floats = Arc::new(Float64Array::from(vec![1.0, 2.0])) as ArrayRef;
    let strings = Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef;
    let bytes = Arc::new(BinaryArray::from(vec![&b"a"[..], b"b"])) as ArrayRef;
    for (columns, at) in [
        ([("text", numbers), ("id", strings.clone())], "text"),
        ([("text", strings.clone()), ("id", floats)], "id"),
        ([("text", bytes), ("id", strings)], "text"),
    ] {
        let t = RecordBatch::try_from_iter(columns).unwrap();
        for path in [put(d.path(), "a.parquet", parquet(&t)), put(d.path(), "a.arrow", arrow_file(&[t]))] {
            let e = failure(Source { text: Some("text".into()), id: Some("id".into()), ..source(path) });
            assert_eq!((e.code(), e.location().column.as_deref()), (Code::WrongType, Some(at)));
        }
    }
    for (line, at) in [
        ("{\"text\":5}", "text"),
        ("{\"text\":[\"x\"]}", "text"),
        ("{\"text\":true}", "text"),
        ("{\"text\":{}}", "text"),
        ("{\"text\":\"x\",\"id\":1.5}", "id"),
        ("{\"text\":\"x\",\"id\":[1]}", "id"),
    ] {
        let path = put(d.path(), "a.jsonl", format!("{{\"text\":\"ok\",\"id\":\"0\"}}\n{line}\n"));
        let e = failure(source(&path));
        let found = (e.code(), e.location().row, e.location().column.as_deref());
        assert_eq!(found, (Code::WrongType, Some(1), Some(at)), "{line}");
        assert_eq!(read(quarantine(&path)).unwrap().aside[0].column.as_deref(), Some(at));
    }
}

#[test]
fn null_and_empty_text_are_counted_apart() {
    let d = dir();
    let text = Arc::new(StringArray::from(vec![Some("a"), None, Some(""), Some("b")])) as ArrayRef;
    let t = RecordBatch::try_from_iter_with_nullable([("text", text, true)]).unwrap();
    let jsonl = "{\"text\":\"a\"}\n{\"text\":null}\n{\"text\":\"\"}\n{\"text\":\"b\"}\n";
    let files = [
        put(d.path(), "a.jsonl", jsonl),
        put(d.path(), "a.parquet", parquet(&t)),
        put(d.path(), "a.arrow", arrow_stream(&[t])),
    ];
    for path in files {
        let got = read(source(&path)).unwrap();
        assert_eq!(got.texts(), ["a", "<null>", "", "b"], "{path:?}");
        assert_eq!((got.stats.null_text, got.stats.empty_text, got.stats.bytes), (1, 1, 2));
    }
    let absent = put(d.path(), "b.jsonl", "{\"text\":\"a\"}\n{\"id\":\"1\"}\n");
    assert_eq!(read(source(absent)).unwrap().stats.null_text, 1);
}

#[test]
fn a_filter_without_a_value() {
    let d = dir();
    let path = put(
        d.path(),
        "a.jsonl",
        "{\"text\":\"a\",\"n\":1}\n{\"text\":\"b\",\"n\":null}\n{\"text\":\"c\",\"n\":0}\n",
    );
    let with = |f: &str, on_error| Source { filter: Some(f.into()), on_error, ..source(&path) };
    let e = failure(with("n > 0.5", OnError::Fail));
    assert_eq!((e.code(), e.location().row), (Code::InvalidValue, Some(1)));
    let got = read(with("n > 0.5", OnError::Quarantine)).unwrap();
    assert_eq!((got.texts(), got.stats.filtered, got.stats.quarantined), (vec!["a"], 1, 1));
    // What is wrong in every row is the request's fault, also in quarantine.
    for (f, code) in [
        ("n +", Code::InvalidArgument),
        ("n + 1 == 2 ? 3 : 4", Code::WrongType),
        ("nosuch(text)", Code::InvalidArgument),
    ] {
        for on_error in [OnError::Fail, OnError::Quarantine] {
            assert_eq!(failure(with(f, on_error)).code(), code, "{f}");
        }
    }
}

#[test]
fn truncated_parquet() {
    let d = dir();
    let whole = parquet_groups(&table(1000), 250);
    for keep in [0, 3, 4, 11, 100, whole.len() / 2, whole.len() - 1] {
        let path = put(d.path(), "a.parquet", &whole[..keep]);
        let e = failure(source(&path));
        assert_eq!((e.code(), e.location().path.as_deref()), (Code::CorruptData, path.to_str()), "{keep}");
        assert_eq!(read(quarantine(&path)).unwrap().stats.damaged, 1);
    }
}

#[test]
fn damaged_row_group_costs_that_group() {
    let d = dir();
    let t = table(1000);
    let mut bytes = parquet_groups(&t, 250);
    // Garbage over the page headers of the second group's text column.
    let start = offset_of(&bytes, 1, "text");
    bytes[start..start + 40].fill(0xff);
    let path = put(d.path(), "a.parquet", bytes);
    let e = failure(source(&path));
    assert_eq!((e.code(), e.location().row_group, e.location().row), (Code::CorruptData, Some(1), Some(250)));
    let got = read(quarantine(&path)).unwrap();
    assert_eq!((got.texts.len(), got.stats.quarantined), (750, 250));
    assert_eq!(
        (got.aside[0].row, got.aside[0].rows, got.aside[0].row_group),
        (Some(250), Some(250), Some(1))
    );
    assert!(got.rows.iter().all(|(_, r)| !(250..500).contains(r)));
}

fn offset_of(bytes: &[u8], group: usize, column: &str) -> usize {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let file = SerializedFileReader::new(bytes::Bytes::from(bytes.to_vec())).unwrap();
    let g = file.metadata().row_group(group);
    let c = g.columns().iter().find(|c| c.column_path().string() == column).unwrap();
    c.byte_range().0 as usize
}

#[test]
fn huge_documents_side_by_side_in_parquet() {
    // By the average of the group some thirty are decoded at once, and of these that is far too many.
    const HUGE: usize = 256 << 10;
    let d = dir();
    let huge = "x".repeat(HUGE);
    let texts = (0..40_300).map(|i| if (20_000..20_300).contains(&i) { huge.as_str() } else { "small" });
    let t =
        RecordBatch::try_from_iter([("text", Arc::new(StringArray::from_iter_values(texts)) as ArrayRef)]);
    let pages = WriterProperties::builder().set_write_batch_size(1).set_dictionary_enabled(false);
    let path = put(d.path(), "a.parquet", parquet_with(&t.unwrap(), pages));
    let corpus = open(Source { batch_bytes: 64 << 10, ..source(path) });
    let mut reader = corpus.read(0, ReadOptions::default(), &Control::default()).unwrap();
    let (mut rows, mut decoded_at_once) = (0, Vec::new());
    for batch in reader.by_ref() {
        let batch = batch.unwrap();
        rows += batch.len();
        // A batch of one is a slice of what was decoded together.
        decoded_at_once.extend(Some(batch.text.values().len() / HUGE).filter(|n| *n > 0));
    }
    assert_eq!((rows, reader.stats().bytes), (40_300, (300 * HUGE + 40_000 * 5) as u64));
    assert!(
        decoded_at_once[0] > 8 && decoded_at_once[100..300].iter().all(|n| *n == 1),
        "{decoded_at_once:?}"
    );
}

#[test]
fn bit_flipped_parquet_never_crashes_and_counts_add_up() {
    let d = dir();
    let whole = parquet_groups(&table(400), 100);
    let path = d.path().join("a.parquet");
    let mut failed = 0;
    for at in (0..whole.len()).step_by(whole.len() / 400) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&path, bytes).unwrap();
        failed += usize::from(read_with(source(&path), ReadOptions::all()).is_err());
        // `read_with` checks the counts; damage in a value without a checksum is no error.
        let got = read_with(quarantine(&path), ReadOptions::all()).unwrap();
        assert!(got.stats.damaged > 0 || got.stats.read <= 400, "byte {at}: {:?}", got.stats);
    }
    assert!(failed > 40, "only {failed} flips were noticed");
}

#[test]
fn bit_flipped_arrow_never_crashes() {
    let d = dir();
    let t = table(50);
    let mut compressed = Vec::new();
    {
        let options = arrow_ipc::writer::IpcWriteOptions::default()
            .try_with_compression(Some(arrow_ipc::CompressionType::ZSTD))
            .unwrap();
        let mut w =
            arrow_ipc::writer::FileWriter::try_new_with_options(&mut compressed, &t.schema(), options)
                .unwrap();
        w.write(&t).unwrap();
        w.finish().unwrap();
    }
    let halves = [t.slice(0, 25), t.slice(25, 25)];
    let path = d.path().join("a.arrow");
    for whole in [arrow_file(&halves), arrow_stream(&halves), compressed] {
        for at in (0..whole.len()).step_by(5) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            std::fs::write(&path, bytes).unwrap();
            let _ = read_with(source(&path), ReadOptions::all());
            read_with(quarantine(&path), ReadOptions::all()).unwrap();
        }
    }
}

#[test]
fn truncated_arrow() {
    let d = dir();
    let t = table(100);
    let halves = [t.slice(0, 50), t.slice(50, 50)];
    for whole in [arrow_file(&halves), arrow_stream(&halves)] {
        for keep in [5, 20, whole.len() / 2, whole.len() - 20] {
            let path = put(d.path(), "a.arrow", &whole[..keep]);
            assert_eq!(failure(source(&path)).code(), Code::CorruptData, "{keep}");
            assert_eq!(read(quarantine(&path)).unwrap().stats.damaged, 1);
        }
    }
}

#[test]
fn arrow_that_claims_impossible_sizes() {
    let d = dir();
    let whole = arrow_stream(&[table(10)]);
    // The length of the first message, and every aligned 64-bit word: one of them is a body length.
    for at in (8..whole.len().min(2000)).step_by(8) {
        let mut bytes = whole.clone();
        bytes[at..at + 8].copy_from_slice(&(1u64 << 61).to_le_bytes());
        let path = put(d.path(), "a.arrow", bytes);
        let _ = read_with(source(&path), ReadOptions::all());
    }
}

#[test]
fn a_document_of_100_mb() {
    let d = dir();
    let text = "All work and no play makes Jack a dull boy. ".repeat(2_400_000);
    assert!(text.len() > 100 << 20);
    let jsonl = format!("{{\"text\":\"a\"}}\n{{\"text\":\"{text}\"}}\n{{\"text\":\"b\"}}\n");
    let columns = Arc::new(StringArray::from(vec!["a", &text, "b"])) as ArrayRef;
    let t = RecordBatch::try_from_iter([("text", columns)]).unwrap();
    let files = [
        put(d.path(), "a.jsonl.zst", zstd(&jsonl)),
        put(d.path(), "a.parquet", parquet(&t)),
        put(d.path(), "a.txt", &text),
    ];
    for path in files {
        let got = read(source(&path)).unwrap();
        assert!(got.texts.iter().flatten().any(|t| *t == text), "{path:?}");
        // Over a limit it is put aside, whole, and what is beside it is read.
        let got = read(Source { max_document_bytes: 50 << 20, ..quarantine(&path) }).unwrap();
        assert_eq!(
            (got.stats.quarantined, got.aside[0].code, &got.aside[0].raw),
            (1, "INVALID_VALUE", &Raw::Absent)
        );
        assert_eq!(got.texts(), if path.ends_with("a.txt") { vec![] } else { vec!["a", "b"] });
    }
}

#[test]
fn duplicate_keys_in_a_line_take_the_last() {
    let d = dir();
    let path = put(d.path(), "a.jsonl", "{\"text\":\"first\",\"text\":\"last\",\"id\":1,\"id\":null}\n");
    let got = read(source(path)).unwrap();
    assert_eq!((got.texts(), got.ids[0].as_str()), (vec!["last"], "a:0"));
}

#[test]
fn bad_requests() {
    let d = dir();
    let path = put(d.path(), "a.jsonl", lines(3));
    let check = |s: Source| Corpus::open(s, &Control::default()).map(drop).unwrap_err().code();
    assert_eq!(check(Source { batch_rows: 0, ..source(&path) }), Code::InvalidArgument);
    assert_eq!(check(Source { max_document_bytes: 1 << 40, ..source(&path) }), Code::InvalidArgument);
    assert_eq!(check(Source { filter: Some("(".into()), ..source(&path) }), Code::InvalidArgument);
    let unsorted = ReadOptions { rows: Some(vec![2, 1]), ..Default::default() };
    assert_eq!(read_with(source(&path), unsorted).unwrap_err().code(), Code::InvalidArgument);
}
