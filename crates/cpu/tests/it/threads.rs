//! The same bits with any number of threads, over the whole conformance table.

use std::process::Command;

use gristmill_conformance::{RunOptions, digests};

/// What the other test runs in processes of their own, since a process has one pool of threads.
#[test]
#[ignore = "prints what results_do_not_depend_on_the_number_of_threads compares"]
fn print_digests() {
    let device = gristmill_cpu::open().unwrap();
    for (case, digest) in digests(&device, &RunOptions { ops: None, seed: Some(11) }).unwrap() {
        println!("digest {case} {digest:016x}");
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let digests = |threads: &str| -> Vec<String> {
        let out = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "threads::print_digests", "--ignored", "--nocapture"])
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        text.lines().filter(|line| line.starts_with("digest ")).map(Into::into).collect()
    };
    let one = digests("1");
    assert!(one.len() > 400, "{}", one.len());
    for threads in ["2", "5"] {
        for (one, other) in one.iter().zip(digests(threads)) {
            assert_eq!(*one, other, "with {threads} threads");
        }
    }
}
