//! The commit protocol, with the crashes that it is made for.

use std::fs;
use std::io::Write;
use std::path::Path;

use gristmill_core::Code;
use gristmill_data::{Commit, Job, JobOptions, JobSpec, WorkerShare};
use serde_json::json;

use crate::support::*;

fn spec() -> JobSpec {
    JobSpec::new("score", json!({"order": 5})).file("pool", "a", "1").file("pool", "b", "2")
}

fn open_job(out: &Path) -> Job {
    Job::open(out.to_str().unwrap(), spec(), JobOptions::default()).unwrap()
}

fn do_piece(job: &Job, shard: usize, text: &str) -> gristmill_core::Result<Commit> {
    let mut file = job.temp_writer(&format!("part/{shard}.txt"))?;
    file.write_all(text.as_bytes()).unwrap();
    job.commit("score", shard, vec![file.finish()?], json!({"documents": shard}))
}

fn tmp_files(out: &Path) -> Vec<String> {
    let entries = fs::read_dir(out.join("_gristmill/tmp")).unwrap();
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_committed_piece_is_there_with_its_hash() {
    let d = dir();
    let job = open_job(d.path());
    assert_eq!(job.commit_of("score", 1).unwrap(), None);
    let commit = do_piece(&job, 1, "abc").unwrap();
    let output = &commit.outputs[0];
    assert_eq!((output.name.as_str(), output.bytes), ("part/1.txt", 3));
    assert_eq!(output.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(fs::read_to_string(d.path().join("part/1.txt")).unwrap(), "abc");
    assert_eq!(job.commit_of("score", 1).unwrap(), Some(commit.clone()));
    assert_eq!(job.committed("score", 3).unwrap(), [false, true, false]);
    assert_eq!(job.complete("score", 3).unwrap(), None);
    for shard in [0, 2] {
        do_piece(&job, shard, "x").unwrap();
    }
    assert_eq!(job.complete("score", 3).unwrap().unwrap()[1], commit);
    assert!(tmp_files(d.path()).is_empty());
    // Another process continues it.
    assert_eq!(open_job(d.path()).commit_of("score", 1).unwrap(), Some(commit));
}

#[test]
fn an_unfinished_file_leaves_nothing() {
    let d = dir();
    let job = open_job(d.path());
    let mut file = job.temp_writer("x").unwrap();
    file.write_all(&[7; 1 << 20]).unwrap();
    assert_eq!(tmp_files(d.path()).len(), 1);
    drop(file);
    let finished = job.temp_writer("y").unwrap().finish().unwrap();
    drop(finished);
    assert!(tmp_files(d.path()).is_empty());
    assert!(!d.path().join("x").exists() && !d.path().join("y").exists());
}

#[test]
fn committing_twice_is_success_when_equal_and_a_mismatch_when_not() {
    let d = dir();
    let job = open_job(d.path());
    let first = do_piece(&job, 0, "same").unwrap();
    assert_eq!(do_piece(&job, 0, "same").unwrap(), first);
    assert_eq!(do_piece(&job, 0, "other").unwrap_err().code(), Code::JobMismatch);
    assert_eq!(fs::read_to_string(d.path().join("part/0.txt")).unwrap(), "same");
    assert!(tmp_files(d.path()).is_empty());
}

#[test]
fn a_truncated_or_missing_output_is_done_again() {
    let d = dir();
    let job = open_job(d.path());
    let commit = do_piece(&job, 0, "whole").unwrap();
    fs::write(d.path().join("part/0.txt"), "who").unwrap();
    assert_eq!(job.commit_of("score", 0).unwrap(), None);
    assert_eq!(do_piece(&job, 0, "whole").unwrap(), commit);
    fs::remove_file(d.path().join("part/0.txt")).unwrap();
    assert_eq!(job.commit_of("score", 0).unwrap(), None);
    assert_eq!(do_piece(&job, 0, "whole").unwrap(), commit);
    assert_eq!(job.commit_of("score", 0).unwrap(), Some(commit));
}

#[test]
fn a_damaged_record_counts_as_none() {
    let d = dir();
    let job = open_job(d.path());
    let commit = do_piece(&job, 0, "x").unwrap();
    let record = d.path().join("_gristmill/commits/score/000000.json");
    fs::write(&record, "{\"step\":").unwrap();
    assert_eq!(job.commit_of("score", 0).unwrap(), None);
    // The output is there and no record names it: it is not overwritten blindly, but taken when equal.
    assert_eq!(do_piece(&job, 0, "x").unwrap(), commit);
}

/// Leaves what a process leaves that was killed after it renamed the data and before the record.
fn crash_between_renames(out: &Path, worker: &str, host: &str, pid: u32) {
    let commit = json!({"step": "score", "shard": 0, "outputs": [{"name": "part/0.txt", "bytes": 3, "sha256": ""}], "state": {}});
    put(out, "part/0.txt", "abc");
    put(out, &format!("_gristmill/tmp/{worker}.{host}.{pid}.0123456789abcdef.5.record"), commit.to_string());
    put(out, &format!("_gristmill/tmp/{worker}.{host}.{pid}.0123456789abcdef.6.data"), "half writ");
}

fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|h| h.trim().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect())
        .unwrap_or_else(|_| "host".into())
}

/// No process has this number: the largest that Linux gives is below it.
const DEAD: u32 = 1 << 30;

#[test]
fn what_a_dead_process_left_is_taken_back() {
    let d = dir();
    drop(open_job(d.path()));
    crash_between_renames(d.path(), "0of1", &host(), DEAD);
    let job = open_job(d.path());
    assert!(tmp_files(d.path()).is_empty());
    assert!(!d.path().join("part/0.txt").exists(), "a result without a record must not stay");
    do_piece(&job, 0, "abc").unwrap();
}

#[test]
fn what_a_process_of_the_same_number_left_is_taken_back() {
    let d = dir();
    drop(open_job(d.path()));
    crash_between_renames(d.path(), "0of1", &host(), std::process::id());
    drop(open_job(d.path()));
    assert!(tmp_files(d.path()).is_empty());
}

#[test]
fn what_a_live_worker_writes_is_left_alone() {
    let d = dir();
    let job = open_job(d.path());
    let mut file = job.temp_writer("part/9.txt").unwrap();
    file.write_all(b"still ").unwrap();
    crash_between_renames(d.path(), "1of2", &host(), DEAD);
    crash_between_renames(d.path(), "0of1", "another-machine", DEAD);
    // A process that lives: this one's parent, or 1.
    crash_between_renames(d.path(), "0of1", &host(), 1);
    drop(open_job(d.path()));
    let left = if Path::new("/proc/1").exists() { 7 } else { 5 };
    assert_eq!(tmp_files(d.path()).len(), left, "{:?}", tmp_files(d.path()));
    file.write_all(b"alive").unwrap();
    job.commit("score", 9, vec![file.finish().unwrap()], json!(null)).unwrap();
    assert_eq!(fs::read_to_string(d.path().join("part/9.txt")).unwrap(), "still alive");
    // The output of the crash may be replaced: a record, though temporary, says whose it is.
    do_piece(&job, 0, "abcd").unwrap();
    job.remove_temporaries().unwrap();
    assert!(tmp_files(d.path()).is_empty());
    assert_eq!(fs::read_to_string(d.path().join("part/0.txt")).unwrap(), "abcd");
}

#[test]
fn a_file_that_is_not_ours_is_not_overwritten() {
    let d = dir();
    put(d.path(), "part/0.txt", "precious");
    let e = do_piece(&open_job(d.path()), 0, "ours").unwrap_err();
    assert_eq!(e.code(), Code::InvalidArgument);
    assert_eq!(fs::read_to_string(d.path().join("part/0.txt")).unwrap(), "precious");
}

#[test]
fn another_job_is_refused_and_the_difference_named() {
    let d = dir();
    do_piece(&open_job(d.path()), 0, "x").unwrap();
    let try_open =
        |spec| Job::open(d.path().to_str().unwrap(), spec, JobOptions::default()).map(drop).unwrap_err();
    let kind = JobSpec { kind: "select".into(), ..spec() };
    let config = JobSpec { config: json!({"order": 6}), ..spec() };
    let input = JobSpec::new("score", json!({"order": 5})).file("pool", "a", "1").file("pool", "b", "3");
    let fewer = JobSpec::new("score", json!({"order": 5})).file("pool", "a", "1");
    for (spec, what) in [
        (kind, "score job"),
        (config, "order was 5 and is 6"),
        (input, "b changed"),
        (fewer, "b is not among"),
    ] {
        let e = try_open(spec);
        assert_eq!(e.code(), Code::JobMismatch);
        assert!(e.to_string().contains(what) && e.to_string().contains("--fresh"), "{e}");
    }
    drop(open_job(d.path()));
}

#[test]
fn fresh_starts_over_and_touches_nothing_else() {
    let d = dir();
    let job = open_job(d.path());
    do_piece(&job, 0, "old").unwrap();
    crash_between_renames(d.path(), "1of2", "another-machine", DEAD);
    put(d.path(), "notes.md", "mine");
    let other = JobSpec::new("score", json!({"order": 6}));
    let fresh = JobOptions { fresh: true, ..Default::default() };
    let job = Job::open(d.path().to_str().unwrap(), other, fresh).unwrap();
    assert_eq!(job.commit_of("score", 0).unwrap(), None);
    assert!(!d.path().join("part/0.txt").exists() && d.path().join("notes.md").exists());
    assert!(tmp_files(d.path()).is_empty());
    let shared = JobOptions { fresh: true, worker: WorkerShare { index: 0, count: 2 } };
    let e = Job::open(d.path().to_str().unwrap(), spec(), shared).map(drop).unwrap_err();
    assert_eq!(e.code(), Code::InvalidArgument);
}

#[test]
fn workers_share_one_job() {
    let d = dir();
    std::thread::scope(|s| {
        for index in 0..4 {
            let out = d.path();
            s.spawn(move || {
                let worker = WorkerShare { index, count: 4 };
                let options = JobOptions { worker, fresh: false };
                let job = Job::open(out.to_str().unwrap(), spec(), options).unwrap();
                for shard in (0..20).filter(|s| worker.takes(*s)) {
                    do_piece(&job, shard, &format!("shard {shard}")).unwrap();
                }
            });
        }
    });
    let commits = open_job(d.path()).complete("score", 20).unwrap().unwrap();
    assert!(commits.iter().enumerate().all(|(i, c)| c.shard == i));
}

/// The first worker that is done removes what is temporary, also what another one is about to rename.
#[test]
fn workers_that_end_at_the_same_time_all_succeed() {
    for _ in 0..200 {
        let d = tempfile::tempdir().unwrap();
        let barrier = std::sync::Barrier::new(3);
        std::thread::scope(|scope| {
            for index in 0..3 {
                let (out, barrier) = (d.path(), &barrier);
                scope.spawn(move || {
                    let worker = WorkerShare { index, count: 3 };
                    let options = JobOptions { worker, ..JobOptions::default() };
                    let job = Job::open(out.to_str().unwrap(), spec(), options).unwrap();
                    barrier.wait();
                    do_piece(&job, 0, "the report").unwrap();
                    job.remove_temporaries().unwrap();
                });
            }
        });
        assert_eq!(open_job(d.path()).commit_of("score", 0).unwrap().unwrap().outputs.len(), 1);
    }
}

#[test]
fn records_are_the_same_for_every_run() {
    let (a, b) = (dir(), dir());
    for d in [&a, &b] {
        let job = open_job(d.path());
        do_piece(&job, 0, "text").unwrap();
    }
    for name in ["_gristmill/job.json", "_gristmill/commits/score/000000.json", "part/0.txt"] {
        assert_eq!(fs::read(a.path().join(name)).unwrap(), fs::read(b.path().join(name)).unwrap());
    }
}

#[test]
fn names_stay_inside_of_the_output() {
    let d = dir();
    let job = open_job(d.path());
    for name in ["../x", "/etc/x", "a//b", "", "_gristmill/job.json", "a/../../x", ".", "c:/x"] {
        assert_eq!(job.temp_writer(name).map(drop).unwrap_err().code(), Code::InvalidArgument, "{name}");
    }
}

#[test]
fn an_output_that_cannot_be_made() {
    let d = dir();
    let file = put(d.path(), "file", "x");
    let open =
        |p: &Path| Job::open(p.to_str().unwrap(), spec(), JobOptions::default()).map(drop).unwrap_err();
    assert_eq!(open(&file).code(), Code::InvalidArgument);
    assert_eq!(open(&file.join("below")).code(), Code::Io);
    if Path::new("/proc/self").exists() {
        let e = open(Path::new("/proc/gristmill"));
        assert!(matches!(e.code(), Code::Io | Code::NotFound), "{e:?}");
    }
}

#[test]
fn results_below_a_pool_are_no_part_of_it_and_can_be_read_themselves() {
    let d = dir();
    put(d.path(), "a.jsonl", lines(3));
    let out = d.path().join("selected");
    let job = open_job(&out);
    let mut file = job.temp_writer("a.jsonl").unwrap();
    file.write_all(lines(1).as_bytes()).unwrap();
    job.commit("select", 0, vec![file.finish().unwrap()], json!(null)).unwrap();
    assert_eq!(read(source(d.path())).unwrap().texts.len(), 3);
    assert_eq!(read(source(&out)).unwrap().texts.len(), 1);
}
