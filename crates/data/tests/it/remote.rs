//! Object stores: the one in this process, and S3 against a small server that speaks the parts used.

use std::io::{Read, Write};
use std::process::Command;

use gristmill_core::{Code, Control, Result};
use gristmill_data::{
    Corpus, Job, JobOptions, JobSpec, OutputFormat, ReadOptions, ShardWriter, Source, WorkerShare,
    read_tables,
};
use serde_json::json;

use crate::s3::Server;
use crate::support::*;

/// Puts files into a store the only way that this crate has: as the result of a job.
fn upload(base: &str, files: &[(&str, Vec<u8>)]) {
    let job = Job::open(base, JobSpec::new("upload", json!(null)), JobOptions::default()).unwrap();
    for (i, (name, bytes)) in files.iter().enumerate() {
        let mut file = job.temp_writer(name).unwrap();
        file.write_all(bytes).unwrap();
        job.commit("upload", i, vec![file.finish().unwrap()], json!(null)).unwrap();
    }
}

/// All that a store is used for, at a place of its own under `base`.
fn exercise(base: &str) {
    let t = table(1000);
    let big: String =
        (0..60_000).map(|i| format!("{{\"id\":{i},\"text\":\"{}\"}}\n", "lorem ipsum ".repeat(25))).collect();
    assert!(big.len() > 16 << 20, "several parts and several blocks");
    let files: [(&str, Vec<u8>); 5] = [
        ("crawl/a.jsonl.gz", gzip(lines(1000))),
        ("crawl/b c.parquet", parquet_groups(&t, 250)),
        ("crawl/x/c.arrow", arrow_file(&[t])),
        ("big/big.jsonl", big.into_bytes()),
        ("notes/README", b"plain words".to_vec()),
    ];
    upload(base, &files);

    let read_at = |inputs: &[&str]| read(Source::new(inputs.iter().map(|i| format!("{base}/{i}"))));
    let all = read_at(&["crawl"]).unwrap();
    assert_eq!((all.texts.len(), all.rows[1000], all.ids[2999].as_str()), (3000, (1, 0), "doc-999"));
    assert_eq!(read_at(&["crawl/"]).unwrap(), all);
    assert_eq!(read_at(&["crawl/*.{jsonl.gz,parquet}", "crawl/**/c.arrow"]).unwrap(), all);
    assert_eq!(read_at(&["crawl/a.jsonl.gz"]).unwrap().texts.len(), 1000);
    assert_eq!(read_at(&["notes/README"]).unwrap().texts(), ["plain words"]);
    let big = read_at(&["big"]).unwrap();
    assert_eq!((big.texts.len(), big.ids[59_999].as_str()), (60_000, "59999"));
    for missing in ["nothing", "crawl/nothing.jsonl", "crawl/*.txt"] {
        assert_eq!(read_at(&[missing]).unwrap_err().code(), Code::NotFound, "{missing}");
    }

    let chosen =
        Source { filter: Some("lang == 'en'".into()), ..Source::new([format!("{base}/crawl/b c.parquet")]) };
    let got = read_with(chosen, ReadOptions::rows(vec![4, 6, 998])).unwrap();
    assert_eq!((got.rows.len(), got.texts()[1]), (2, "document number 998, caf\u{e9}"));

    select_from(base).unwrap();
    let e = Job::open(&format!("{base}/out"), JobSpec::new("other", json!(null)), JobOptions::default())
        .map(drop);
    assert_eq!(e.unwrap_err().code(), Code::JobMismatch);
    // The result lies in a directory of its own below the input, and is no part of it.
    assert_eq!(read_at(&["crawl"]).unwrap().texts.len(), 3000);
}

/// A job whose inputs and outputs are in the store, done by two workers at once and then once more.
fn select_from(base: &str) -> Result<()> {
    let corpus = Corpus::open(Source::new([format!("{base}/crawl")]), &Control::default())?;
    let out = format!("{base}/crawl/selected");
    let spec = || JobSpec::new("select", json!({"budget": "all"})).input("pool", &corpus);
    let work = |worker: WorkerShare| -> Result<()> {
        let job = Job::open(&out, spec(), JobOptions { worker, fresh: false })?;
        for shard in corpus.shards().iter().filter(|s| worker.takes(s.index)) {
            if job.commit_of("write", shard.index)?.is_some() {
                continue;
            }
            let name = shard.output_name(OutputFormat::Parquet);
            let file = job.temp_writer(&name)?;
            let mut w = ShardWriter::create(file, &job.path_of(&name), OutputFormat::Parquet)?;
            for batch in corpus.read(shard.index, ReadOptions::all(), &Control::default())? {
                w.write(&batch?, &[])?;
            }
            let rows = w.rows();
            job.commit("write", shard.index, vec![w.finish()?.finish()?], json!({"rows": rows}))?;
        }
        Ok(())
    };
    // Both do everything that is theirs; one does the other's as well, and finds it equal.
    std::thread::scope(|s| {
        let one = s.spawn(|| work(WorkerShare { index: 0, count: 2 }));
        let two = s.spawn(|| work(WorkerShare { index: 1, count: 2 }));
        one.join().unwrap().and(two.join().unwrap())
    })?;
    let job = Job::open(&out, spec(), JobOptions::default())?;
    let before = job.complete("write", 3)?.expect("all shards are committed");
    work(WorkerShare::default())?;
    assert_eq!(job.complete("write", 3)?.unwrap(), before);
    assert!(before.iter().all(|c| c.state == json!({"rows": 1000})));
    let tables = read_tables(&job.path_of(&before[1].outputs[0].name))?;
    assert_eq!(tables.map(|b| b.unwrap().num_rows()).sum::<usize>(), 1000);
    assert_eq!(job.commit("write", 0, vec![], json!({"rows": 0})).unwrap_err().code(), Code::JobMismatch);

    // Started over, nothing of it is left; results that another job names stay.
    let fresh = JobOptions { fresh: true, ..Default::default() };
    let again = Job::open(&format!("{base}/again"), spec(), fresh)?;
    let mut file = again.temp_writer("x")?;
    file.write_all(b"x").unwrap();
    again.commit("write", 0, vec![file.finish()?], json!(null))?;
    let again = Job::open(&format!("{base}/again"), spec(), fresh)?;
    assert_eq!(again.committed("write", 1)?, [false]);
    assert!(read_tables(&again.path_of("x")).is_err());
    let out = Job::open(&format!("{base}/out"), spec(), JobOptions::default())?;
    assert_eq!(out.committed("write", 1)?, [false]);
    Ok(())
}

#[test]
fn a_store_in_this_process() {
    exercise("memory://exercise/some/where");
}

/// Settings come from the environment, which a process with threads cannot change: a child has its own.
#[test]
fn s3() {
    let server = Server::start();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["remote::s3_child", "--exact", "--ignored", "--nocapture"])
        .env("AWS_ENDPOINT", server.url())
        .env("AWS_ALLOW_HTTP", "true")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    let seen = server.seen();
    for what in ["multipart", "conditional put", "range", "if-match"] {
        assert!(seen.contains(what), "the server saw no {what}: {seen:?}");
    }
    assert_eq!(server.open_uploads(), 0);
}

#[test]
#[ignore = "run by the test `s3`, which starts the server"]
fn s3_child() {
    exercise("s3://bucket/some/where");
    object_that_changes_while_it_is_read();
    connection_that_breaks();
}

fn object_that_changes_while_it_is_read() {
    let big =
        || (0..200_000).map(|i| format!("{{\"text\":\"{i} {}\"}}\n", "x".repeat(100))).collect::<String>();
    upload("s3://bucket/change", &[("a.jsonl", big().into_bytes())]);
    let corpus = open(Source::new(["s3://bucket/change/a.jsonl"]));
    let mut reader = corpus.read(0, ReadOptions::default(), &Control::default()).unwrap();
    reader.next().unwrap().unwrap();
    let fresh = JobOptions { fresh: true, ..Default::default() };
    let job = Job::open("s3://bucket/change", JobSpec::new("upload", json!(2)), fresh).unwrap();
    let mut file = job.temp_writer("a.jsonl").unwrap();
    file.write_all(big().replace('x', "y").as_bytes()).unwrap();
    job.commit("upload", 0, vec![file.finish().unwrap()], json!(null)).unwrap();
    let e = reader.find_map(|b| b.err()).expect("a mixture of two versions must not pass");
    assert_eq!(e.code(), Code::Io, "{e}");
}

/// A store that cannot be reached is no damaged file: it must not end in quarantine.
fn connection_that_breaks() {
    upload("s3://bucket/broken", &[("a.parquet", parquet_groups(&table(1000), 250))]);
    let path = Source::new(["s3://bucket/broken/a.parquet"]);
    let corpus = open(Source { on_error: gristmill_data::OnError::Quarantine, ..path });
    let mut control =
        std::net::TcpStream::connect(std::env::var("AWS_ENDPOINT").unwrap().trim_start_matches("http://"))
            .unwrap();
    control
        .write_all(b"POST /refuse-bodies HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .unwrap();
    control.read_exact(&mut [0; 12]).unwrap();
    let e = batches(&corpus, 0, ReadOptions::default()).unwrap_err();
    assert_eq!(e.code(), Code::Io, "{e}");
}
