//! Writing what was read.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, Float32Array, RecordBatch, StringArray, UInt32Array};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use gristmill_core::{Code, Control};
use gristmill_data::{
    Compression, Format, OutputFormat, ReadOptions, ShardWriter, SidecarWriter, Source, read_metadata,
    read_tables,
};

use crate::support::*;

const ALL: [OutputFormat; 5] = [
    OutputFormat::Parquet,
    OutputFormat::Arrow,
    OutputFormat::Jsonl(Compression::None),
    OutputFormat::Jsonl(Compression::Gzip),
    OutputFormat::Jsonl(Compression::Zstd),
];

fn score(n: usize) -> Vec<(FieldRef, ArrayRef)> {
    let scores = Float32Array::from_iter((0..n).map(|i| (i != 1).then_some(i as f32 + 0.1)));
    let tokens = UInt32Array::from_iter_values((0..n).map(|i| i as u32));
    vec![
        (Arc::new(Field::new("score_ours", DataType::Float32, true)), Arc::new(scores)),
        (Arc::new(Field::new("n_tokens", DataType::UInt32, false)), Arc::new(tokens)),
    ]
}

fn copy(source: Source, options: ReadOptions, format: OutputFormat, ours: bool) -> Vec<u8> {
    let corpus = open(source);
    let mut reader = corpus.read(0, options, &Control::default()).unwrap();
    let mut w = ShardWriter::create(Vec::new(), "out", format).unwrap();
    for batch in reader.by_ref() {
        let batch = batch.unwrap();
        let extra = if ours { score(batch.len()) } else { Vec::new() };
        w.write(&batch, &extra).unwrap();
    }
    w.expect(reader.schema(), vec![]).finish().unwrap()
}

#[test]
fn every_input_becomes_every_output_with_all_columns_and_ours() {
    let d = dir();
    let t = table(700);
    put(d.path(), "a.jsonl", lines(700));
    put(d.path(), "b.parquet", parquet(&t));
    put(d.path(), "c.arrow", arrow_file(&[t]));
    for name in ["a.jsonl", "b.parquet", "c.arrow"] {
        for format in ALL {
            let request = || Source { batch_rows: 1000, ..source(d.path().join(name)) };
            let bytes = copy(request(), ReadOptions::all(), format, true);
            assert_eq!(
                bytes,
                copy(request(), ReadOptions::all(), format, true),
                "{name} {format:?} is not deterministic"
            );
            let path = put(d.path(), &format!("out.{}", format.extension()), bytes);
            let back = read(source(&path)).unwrap();
            assert_eq!(
                (back.texts.len(), back.texts()[699], back.ids[699].as_str()),
                (700, "document number 699, caf\u{e9}", "doc-699")
            );
            let tables: Vec<RecordBatch> =
                read_tables(path.to_str().unwrap()).unwrap().map(|b| b.unwrap()).collect();
            assert_eq!(tables.iter().map(|b| b.num_rows()).sum::<usize>(), 700);
            let names: Vec<_> = tables[0].schema().fields().iter().map(|f| f.name().clone()).collect();
            assert_eq!(names, ["id", "text", "lang", "score", "score_ours", "n_tokens"], "{name} {format:?}");
            let scores = tables[0].column_by_name("score").unwrap().as_primitive::<Float64Type>();
            assert_eq!(scores.value(13), 3.5);
            assert!(tables[0].column_by_name("score_ours").unwrap().is_null(1));
        }
    }
}

#[test]
fn json_to_json_changes_nothing_but_adds_members() {
    let d = dir();
    let text = "{ \"z\": 1.10, \"text\":\"t\\u00e9\" , \"n\":{\"b\":1,\"a\":[1e3]} }  \n{}\n { } \n{\"text\":\"u\",\"big\":18446744073709551616}\r\n";
    let path = put(d.path(), "a.jsonl", text);
    let request = || Source { text: Some("text".into()), ..source(&path) };
    let plain = OutputFormat::Jsonl(Compression::None);
    let same = String::from_utf8(copy(request(), ReadOptions::all(), plain, false)).unwrap();
    let expected = "{ \"z\": 1.10, \"text\":\"t\\u00e9\" , \"n\":{\"b\":1,\"a\":[1e3]} }\n{}\n { }\n{\"text\":\"u\",\"big\":18446744073709551616}\n";
    assert_eq!(same, expected);
    let more = String::from_utf8(copy(request(), ReadOptions::all(), plain, true)).unwrap();
    let lines: Vec<_> = more.lines().collect();
    assert_eq!(
        lines[0],
        "{ \"z\": 1.10, \"text\":\"t\\u00e9\" , \"n\":{\"b\":1,\"a\":[1e3]} ,\"score_ours\":0.1,\"n_tokens\":0}"
    );
    assert_eq!(lines[1], "{\"score_ours\":null,\"n_tokens\":1}");
    assert_eq!(lines[2], " { \"score_ours\":2.1,\"n_tokens\":2}");
    assert_eq!(lines[3], "{\"text\":\"u\",\"big\":18446744073709551616,\"score_ours\":3.1,\"n_tokens\":3}");
    for line in lines {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[test]
fn json_to_parquet_types_what_agrees_and_keeps_the_rest_as_json() {
    let d = dir();
    let text = "{\"text\":\"a\",\"n\":1,\"mixed\":1,\"meta\":{\"k\":[1,2]}}\n{\"text\":\"dropped\",\"n\":\"x\",\"only\":1}\n{\"text\":\"b\",\"n\":2,\"mixed\":{\"x\":null}}\n";
    let path = put(d.path(), "a.jsonl", text);
    let bytes = copy(source(&path), ReadOptions::rows(vec![0, 2]), OutputFormat::Parquet, true);
    let out = put(d.path(), "out.parquet", bytes);
    let t = read_tables(out.to_str().unwrap()).unwrap().next().unwrap().unwrap();
    // The row that was not kept has no say: `n` is a number and `only` is not there.
    assert_eq!(t.column_by_name("n").unwrap().as_primitive::<Int64Type>().values()[..], [1, 2]);
    assert!(t.column_by_name("only").is_none());
    let mixed = t.column_by_name("mixed").unwrap().as_string::<i32>();
    assert_eq!((mixed.value(0), mixed.value(1)), ("1", "{\"x\":null}"));
    assert!(matches!(t.column_by_name("meta").unwrap().data_type(), DataType::Struct(_)));
}

#[test]
fn many_lines_spill_and_come_back() {
    let d = dir();
    let long = "x".repeat(2000);
    let text: String = (0..40_000).map(|i| format!("{{\"text\":\"{i} {long}\"}}\n")).collect();
    let path = put(d.path(), "a.jsonl", text);
    let out =
        put(d.path(), "out.parquet", copy(source(&path), ReadOptions::all(), OutputFormat::Parquet, false));
    let got = read(source(out)).unwrap();
    assert_eq!((got.texts.len(), got.texts()[39_999].starts_with("39999 x")), (40_000, true));
}

#[test]
fn a_column_of_our_name_is_a_typed_error() {
    let d = dir();
    let t = table(3);
    for path in [put(d.path(), "a.jsonl", lines(3)), put(d.path(), "a.parquet", parquet(&t))] {
        let corpus = open(source(path));
        let (b, _) = batches(&corpus, 0, ReadOptions::all()).unwrap();
        let clash: FieldRef = Arc::new(Field::new("score", DataType::UInt32, false));
        for format in ALL {
            let mut w = ShardWriter::create(Vec::new(), "out", format).unwrap();
            let column: ArrayRef = Arc::new(UInt32Array::from(vec![1, 2, 3]));
            let e = w.write(&b[0], &[(clash.clone(), column)]).unwrap_err();
            assert_eq!((e.code(), e.location().column.as_deref()), (Code::InvalidArgument, Some("score")));
        }
    }
}

#[test]
fn nothing_kept_makes_an_empty_file_with_its_columns() {
    let d = dir();
    let path = put(d.path(), "a.parquet", parquet(&table(5)));
    let none = || Source { filter: Some("lang == 'fr'".into()), ..source(&path) };
    for format in [OutputFormat::Parquet, OutputFormat::Arrow] {
        let out = put(
            d.path(),
            &format!("out.{}", format.extension()),
            copy(none(), ReadOptions::all(), format, false),
        );
        let tables = read_tables(out.to_str().unwrap()).unwrap();
        assert_eq!(tables.schema().field(1).name(), "text");
        assert_eq!(tables.map(|b| b.unwrap().num_rows()).sum::<usize>(), 0);
        assert_eq!(read(source(out)).unwrap().stats.read, 0);
    }
    assert!(copy(none(), ReadOptions::all(), OutputFormat::Jsonl(Compression::None), false).is_empty());
}

#[test]
fn plain_text_becomes_jsonl() {
    let d = dir();
    let path = put(d.path(), "a.txt", "one\ntwo\n");
    let lines = Source { lines: true, ..source(&path) };
    let shard = &open(lines.clone()).shards()[0].clone();
    assert_eq!((shard.format, shard.output_format()), (Format::Text, OutputFormat::Jsonl(Compression::None)));
    let out = String::from_utf8(copy(lines, ReadOptions::all(), shard.output_format(), false)).unwrap();
    assert_eq!(out, "{\"id\":\"a:0\",\"text\":\"one\"}\n{\"id\":\"a:1\",\"text\":\"two\"}\n");
}

#[test]
fn gzip_has_no_time_in_it() {
    let d = dir();
    let path = put(d.path(), "a.jsonl", lines(3));
    let bytes = copy(source(path), ReadOptions::all(), OutputFormat::Jsonl(Compression::Gzip), false);
    assert_eq!((&bytes[4..8], bytes[9]), (&[0; 4][..], 255));
}

#[test]
fn sidecars_carry_their_metadata() {
    let d = dir();
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("nll_sum", DataType::Float64, true),
    ]));
    let metadata = BTreeMap::from([
        ("gristmill.spec".to_string(), "{\"name\":\"perplexity\"}".to_string()),
        ("gristmill.input".into(), "123".into()),
    ]);
    let make = || {
        let mut w = SidecarWriter::create(Vec::new(), "s.parquet", &schema, &metadata).unwrap();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec!["a", "b"])),
            Arc::new(arrow_array::Float64Array::from(vec![1.5, -0.25])),
        ];
        w.write(&RecordBatch::try_new(schema.clone(), columns).unwrap()).unwrap();
        w.finish().unwrap()
    };
    assert_eq!(make(), make());
    let path = put(d.path(), "s.parquet", make());
    let read = read_metadata(path.to_str().unwrap()).unwrap();
    assert_eq!(read, metadata);
    let t = read_tables(path.to_str().unwrap()).unwrap().next().unwrap().unwrap();
    assert_eq!(t.column(1).as_primitive::<Float64Type>().values()[..], [1.5, -0.25]);
}

#[test]
fn damaged_tables_are_typed_errors() {
    let d = dir();
    let whole = parquet(&table(100));
    let path = put(d.path(), "a.parquet", &whole[..whole.len() / 2]);
    let e = read_tables(path.to_str().unwrap()).map(drop).unwrap_err();
    assert_eq!((e.code(), e.location().path.as_deref()), (Code::CorruptData, path.to_str()));
    let path = put(d.path(), "a.jsonl", "{\"a\":1}\n{\"a\"\n");
    assert_eq!(read_tables(path.to_str().unwrap()).map(drop).unwrap_err().location().row, Some(1));
    assert_eq!(read_tables("no/such.parquet").map(drop).unwrap_err().code(), Code::NotFound);
}

/// Writes to a device that is always full, where the system has one.
#[test]
fn full_disk() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
        eprintln!("skipped: this system has no /dev/full");
        return;
    };
    let d = dir();
    let corpus = open(source(put(d.path(), "a.jsonl", lines(20_000))));
    let (b, _) = batches(&corpus, 0, ReadOptions::all()).unwrap();
    for format in ALL {
        let mut w = ShardWriter::create(full.try_clone().unwrap(), "/dev/full", format).unwrap();
        let written = b.iter().try_for_each(|b| w.write(b, &[]));
        let e = written.and_then(|()| w.finish().map(drop)).unwrap_err();
        assert_eq!(
            (e.code(), e.location().path.as_deref()),
            (Code::StorageFull, Some("/dev/full")),
            "{format:?}: {e}"
        );
    }
}
