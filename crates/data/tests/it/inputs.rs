//! Finding and reading sound inputs.

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, DictionaryArray, Int64Array, LargeStringArray, RecordBatch, StringArray, StringViewArray,
};
use gristmill_core::{CancelToken, Code, Control};
use gristmill_data::{Columns, Compression, Corpus, Format, ReadOptions, RowColumns, Source};

use crate::support::*;

#[test]
fn every_format_and_compression_reads_the_same() {
    let d = dir();
    let (text, t) = (lines(1000), table(1000));
    let many = format!("{}{}", &text[..text.len() / 2], &text[text.len() / 2..]);
    let cut = text.find("\n").unwrap() + 1;
    let members = [gzip(&text[..cut]), gzip(""), gzip(&text[cut..])].concat();
    let frames = [zstd(&text[..cut]), zstd(&text[cut..])].concat();
    let halves = [t.slice(0, 400), t.slice(400, 600)];
    let files = [
        put(d.path(), "a.jsonl", &many),
        put(d.path(), "b.jsonl.gz", &members),
        put(d.path(), "c.ndjson.zst", &frames),
        put(d.path(), "d.json", &text),
        put(d.path(), "e.parquet", parquet(&t)),
        put(d.path(), "f.parquet", parquet_groups(&t, 300)),
        put(d.path(), "g.arrow", arrow_file(&halves)),
        put(d.path(), "h.arrows", arrow_stream(&halves)),
        put(d.path(), "without-extension", &text),
        put(d.path(), "gzip-without-extension", &members),
        put(d.path(), "parquet-without-extension", parquet(&t)),
    ];
    let first = read(source(&files[0])).unwrap();
    assert_eq!((first.texts.len(), first.ids[999].as_str()), (1000, "doc-999"));
    assert_eq!(first.texts()[7], "document number 7, caf\u{e9}");
    for file in &files {
        assert_eq!(read(source(file)).unwrap(), first, "{file:?}");
        let with_columns = read_with(source(file), ReadOptions::all()).unwrap();
        assert_eq!(with_columns, first, "{file:?}");
    }
}

#[test]
fn batches_are_bounded_by_rows_and_by_bytes() {
    let d = dir();
    let (text, t) = (lines(1000), table(1000));
    for path in [
        put(d.path(), "a.jsonl", text),
        put(d.path(), "a.parquet", parquet(&t)),
        put(d.path(), "a.arrow", arrow_file(&[t])),
    ] {
        let corpus = open(Source { batch_rows: 64, ..source(&path) });
        let (b, _) = batches(&corpus, 0, ReadOptions::default()).unwrap();
        assert!(b.iter().all(|b| b.len() <= 64) && b.len() == 16, "{path:?}");
        let corpus = open(Source { batch_bytes: 100, ..source(&path) });
        let (b, _) = batches(&corpus, 0, ReadOptions::default()).unwrap();
        assert!(b.iter().all(|b| b.len() <= 5), "{path:?}");
    }
}

#[test]
fn directories_globs_and_lists_find_the_same_shards_in_url_order() {
    let d = dir();
    for name in [
        "b/2.jsonl",
        "a/1.jsonl.gz",
        "a/x/3.parquet",
        "a/README.txt",
        "_SUCCESS",
        ".hidden.jsonl",
        "state.json",
    ] {
        let bytes = match name.rsplit('.').next().unwrap() {
            "gz" => gzip(lines(2)),
            "parquet" => parquet(&table(2)),
            _ => lines(2).into_bytes(),
        };
        put(d.path(), name, bytes);
    }
    let names = |c: &Corpus| c.shards().iter().map(|s| s.name.clone()).collect::<Vec<_>>();
    let all = open(source(d.path()));
    assert_eq!(names(&all), ["a/1", "a/x/3", "b/2"]);
    assert_eq!((all.shards()[0].format, all.shards()[0].compression), (Format::Jsonl, Compression::Gzip));
    assert!(all.shards().iter().enumerate().all(|(i, s)| s.index == i));
    assert_eq!(all.shards()[0].output_name(all.shards()[0].output_format()), "a/1.jsonl.gz");

    let glob = |g: &str| Source::new([format!("{}/{g}", d.path().display())]);
    assert_eq!(names(&open(glob("**/*.{jsonl,jsonl.gz}"))), ["a/1", "b/2"]);
    assert_eq!(names(&open(glob("*/*.jsonl"))), ["b/2"]);
    assert_eq!(names(&open(glob("a/**"))), ["1", "README", "x/3"]);
    let url = Source::new([format!("file://{}", d.path().display())]);
    assert_eq!(names(&open(url)), names(&all));

    // The same file by two names is one shard.
    let twice = Source::new([
        d.path().join("b/2.jsonl").display().to_string(),
        format!("{}/b/../b/*.jsonl", d.path().display()),
    ]);
    assert_eq!(open(twice).shards().len(), 1);
}

#[test]
fn a_file_whose_name_looks_like_a_glob_is_read() {
    let d = dir();
    let path = put(d.path(), "part[1].jsonl", lines(3));
    assert_eq!(read(source(path)).unwrap().texts.len(), 3);
}

#[test]
fn shard_names_never_meet() {
    let d = dir();
    for name in ["x/a.jsonl", "y/a.jsonl", "z/b.jsonl", "z/b.parquet", "z/B.jsonl.gz"] {
        let bytes = match name {
            n if n.ends_with("parquet") => parquet(&table(1)),
            n if n.ends_with("gz") => gzip(lines(1)),
            _ => lines(1).into_bytes(),
        };
        put(d.path(), name, bytes);
    }
    let inputs = ["x", "y", "z"].map(|s| d.path().join(s).display().to_string());
    let corpus = open(Source::new(inputs));
    let mut names: Vec<_> = corpus.shards().iter().map(|s| s.name.to_lowercase()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 5, "{names:?}");
}

#[test]
fn fingerprints_change_with_the_file() {
    let d = dir();
    let path = put(d.path(), "a.jsonl", lines(10));
    let print = || open(source(&path)).shards()[0].fingerprint.clone();
    let before = print();
    assert_eq!(before, print());
    put(d.path(), "a.jsonl", lines(10).replace("number 3", "NUMBER 3"));
    assert_ne!(before, print());
}

#[test]
fn columns_are_detected_or_named() {
    let d = dir();
    let path =
        put(d.path(), "a.jsonl", "{\"title\":\"t\",\"content\":\"c\",\"doc_id\":7,\"src\":\"wiki\"}\n");
    let got = read(Source { group: Some("src".into()), ..source(&path) }).unwrap();
    assert_eq!((got.texts(), got.ids[0].as_str(), got.groups[0].as_deref()), (vec!["c"], "7", Some("wiki")));
    let got = read(Source { text: Some("title".into()), id: Some("src".into()), ..source(&path) }).unwrap();
    assert_eq!((got.texts(), got.ids[0].as_str()), (vec!["t"], "wiki"));
    // One column with two roles.
    let got = read(Source { group: Some("content".into()), ..source(&path) }).unwrap();
    assert_eq!((got.texts(), got.groups[0].as_deref()), (vec!["c"], Some("c")));
}

#[test]
fn ids_are_made_of_file_and_row_where_there_are_none() {
    let d = dir();
    put(
        d.path(),
        "sub/a.jsonl",
        "{\"text\":\"x\"}\n\n{\"text\":\"y\",\"id\":null}\n{\"text\":\"z\",\"id\":\"own\"}\n",
    );
    let got = read(source(d.path())).unwrap();
    assert_eq!(got.ids, ["sub/a:0", "sub/a:2", "own"]);
    assert_eq!(got.rows, [(0, 0), (0, 2), (0, 3)]);
}

#[test]
fn every_string_type_and_integer_ids_are_read() {
    let d = dir();
    let texts = ["one", "two", "one"];
    let dictionary: DictionaryArray<Int32Type> = texts.into_iter().collect();
    let columns: [ArrayRef; 4] = [
        Arc::new(StringArray::from(texts.to_vec())),
        Arc::new(LargeStringArray::from(texts.to_vec())),
        Arc::new(StringViewArray::from(texts.to_vec())),
        Arc::new(dictionary),
    ];
    for (i, column) in columns.into_iter().enumerate() {
        let ids = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])) as ArrayRef;
        let t =
            RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("text", column, true)]).unwrap();
        let files = [
            put(d.path(), &format!("{i}.parquet"), parquet(&t)),
            put(d.path(), &format!("{i}.arrow"), arrow_file(&[t])),
        ];
        for path in files {
            let got = read_with(source(path), ReadOptions::all()).unwrap();
            assert_eq!((got.texts(), &got.ids[0], &got.ids[2]), (texts.to_vec(), &"1".into(), &"3".into()));
            assert_eq!(got.ids[1], format!("{i}:1"));
        }
    }
}

#[test]
fn plain_text_is_a_document_a_file_or_a_line() {
    let d = dir();
    let path = put(d.path(), "a.txt.gz", gzip("\u{feff}one\r\n\ntwo\n"));
    let got = read(source(&path)).unwrap();
    assert_eq!((got.texts(), got.ids[0].as_str()), (vec!["one\r\n\ntwo\n"], "a"));
    let got = read(Source { lines: true, ..source(&path) }).unwrap();
    assert_eq!((got.texts(), got.ids[2].as_str(), got.stats.empty_text), (vec!["one", "", "two"], "a:2", 1));
    let got = read_with(Source { lines: true, ..source(&path) }, ReadOptions::rows(vec![2])).unwrap();
    assert_eq!((got.texts(), &got.rows[..]), (vec!["two"], &[(0, 2)][..]));
}

#[test]
fn a_filter_keeps_rows_in_every_format() {
    let d = dir();
    let t = table(1000);
    put(d.path(), "a.jsonl", lines(1000));
    put(d.path(), "b.parquet", parquet_groups(&t, 300));
    put(d.path(), "c.arrow", arrow_file(&[t.slice(0, 500), t.slice(500, 500)]));
    let expected: Vec<u64> = (0..1000).filter(|i| i % 3 != 0 && i % 10 > 4).collect();
    for name in ["a.jsonl", "b.parquet", "c.arrow"] {
        for filter in
            ["lang == \"en\" && score > 5.0 - 0.5", "lang != 'de' && score >= 5.5 && size(text) > 3"]
        {
            let request = || Source { filter: Some(filter.into()), ..source(d.path().join(name)) };
            for options in [ReadOptions::default(), ReadOptions::all()] {
                let got = read_with(request(), options).unwrap();
                assert_eq!(got.rows.iter().map(|r| r.1).collect::<Vec<_>>(), expected, "{name} {filter}");
                assert_eq!((got.stats.read, got.stats.filtered), (1000, 1000 - expected.len() as u64));
                assert_eq!(got.texts()[0], format!("document number {}, caf\u{e9}", expected[0]));
            }
            // Chosen rows and the filter together.
            let got = read_with(request(), ReadOptions::rows(vec![3, 5, 6, 8, 999])).unwrap();
            assert_eq!(got.rows, [(0, 5), (0, 8)], "{name}");
            assert_eq!(got.stats.read, 5);
        }
    }
}

#[test]
fn a_filter_sees_nested_values_lists_and_nulls() {
    let d = dir();
    let path = put(
        d.path(),
        "a.jsonl",
        "{\"text\":\"a\",\"meta\":{\"src\":\"wiki\"},\"tags\":[\"x\",\"y\"],\"n\":1}\n\
         {\"text\":\"b\",\"meta\":{\"src\":\"web\"},\"tags\":[],\"n\":null}\n{\"text\":\"c\",\"meta\":null}\n",
    );
    let keep = |f: &str| {
        let got = read(Source { filter: Some(f.into()), ..source(&path) }).unwrap();
        got.texts.into_iter().flatten().collect::<String>()
    };
    assert_eq!(keep("meta != null && meta.src == 'wiki'"), "a");
    assert_eq!(keep("tags != null && tags.exists(t, t == 'y')"), "a");
    assert_eq!(keep("n == null"), "bc");
    assert_eq!(keep("text in ['a', 'c']"), "ac");
    assert_eq!(keep("true"), "abc");
}

#[test]
fn chosen_rows_are_read_and_nothing_else() {
    let d = dir();
    let t = table(1000);
    put(d.path(), "a.jsonl", lines(1000));
    put(d.path(), "b.parquet", parquet_groups(&t, 300));
    put(d.path(), "c.arrow", arrow_file(&[t.slice(0, 500), t.slice(500, 500)]));
    let rows = vec![0, 1, 2, 299, 300, 655, 999];
    for name in ["a.jsonl", "b.parquet", "c.arrow"] {
        for columns in [Columns::Text, Columns::All] {
            let options = ReadOptions { columns, rows: Some(rows.clone()) };
            let got = read_with(source(d.path().join(name)), options).unwrap();
            assert_eq!(got.rows.iter().map(|r| r.1).collect::<Vec<_>>(), rows, "{name}");
            assert_eq!(got.texts()[5], "document number 655, caf\u{e9}", "{name}");
            assert_eq!(got.ids[6], "doc-999");
        }
        let none = read_with(source(d.path().join(name)), ReadOptions::rows(vec![])).unwrap();
        assert_eq!(none.stats.read, 0, "{name}");
        // Rows that are not there mean that the file is not the one they were chosen from.
        let e = read_with(source(d.path().join(name)), ReadOptions::rows(vec![3, 1000])).unwrap_err();
        assert_eq!((e.code(), e.location().row), (Code::InvalidArgument, Some(1000)), "{name}");
    }
}

#[test]
fn json_lines_pass_through_untouched() {
    let d = dir();
    let text = "{ \"z\": 1.10, \"text\":\"t\\u00e9\", \"n\":{\"b\":1,\"a\":[1e3]} }\n{\"text\":\"u\",\"extra\":18446744073709551616}\n";
    let corpus = open(source(put(d.path(), "a.jsonl", text)));
    let (b, _) = batches(&corpus, 0, ReadOptions::all()).unwrap();
    let Some(RowColumns::Json(json)) = &b[0].columns else { panic!("not JSON") };
    let back: String = json.lines.iter().map(|l| format!("{}\n", l.unwrap())).collect();
    assert_eq!(back, text);
    assert_eq!(json.keys[..], ["z", "text", "n", "extra"].map(str::to_string));
    assert_eq!(b[0].text(0), Some("t\u{e9}"));
}

#[test]
fn a_cancelled_read_stops_and_a_dropped_reader_lets_go() {
    let d = dir();
    let corpus = open(source(put(d.path(), "a.jsonl", lines(50_000))));
    let cancel = CancelToken::default();
    let control = Control::with_cancel(cancel.clone());
    let mut reader = corpus.read(0, ReadOptions::default(), &control).unwrap();
    reader.next().unwrap().unwrap();
    cancel.cancel();
    let end = reader.find_map(|b| b.err()).expect("the read must end with an error");
    assert_eq!(end.code(), Code::Aborted);
    let mut dropped = corpus.read(0, ReadOptions::default(), &Control::default()).unwrap();
    dropped.next().unwrap().unwrap();
    drop(dropped);
}

#[test]
fn batches_can_be_thinned() {
    let d = dir();
    let corpus = open(source(put(d.path(), "a.jsonl", lines(10))));
    let (b, _) = batches(&corpus, 0, ReadOptions::all()).unwrap();
    let odd = (0..10).map(|i| Some(i % 2 == 1)).collect();
    let thin = b[0].filter(&odd).unwrap();
    assert_eq!((thin.rows.clone(), thin.ids.value(1)), (vec![1, 3, 5, 7, 9], "doc-3"));
    let Some(RowColumns::Json(json)) = thin.columns else { panic!() };
    assert!(json.lines.value(4).contains("doc-9"));
}
