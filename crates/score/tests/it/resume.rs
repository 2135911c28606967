//! Jobs that are killed at any moment and started again end with the same bytes.

use std::time::{Duration, Instant};

use gristmill_core::hash::{hash64, unit_open};
use gristmill_score::jobs::{SelectOptions, SelectSummary};

use crate::common::{Dir, assert_same, rows, tree};
use crate::{child, select};

/// Kills of one test, at least.
const KILLS: u64 = 24;

/// Random numbers that a seed reproduces.
struct Dice {
    seed: u64,
    thrown: u64,
}

impl Dice {
    fn new() -> Self {
        let seed = std::env::var("GRISTMILL_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
        Self { seed, thrown: 0 }
    }

    fn throw(&mut self) -> f64 {
        self.thrown += 1;
        unit_open(hash64(self.seed, &self.thrown.to_le_bytes()))
    }
}

fn setting() -> (Dir, SelectOptions) {
    let dir = Dir::new();
    for shard in 0..10u64 {
        let from = shard * 1000;
        let rows = rows("wanted", from, 60).chain(rows("other", from, 140)).chain(rows("noise", from, 100));
        dir.jsonl(&format!("pool/{shard}.jsonl{}", if shard % 2 == 0 { "" } else { ".gz" }), rows);
    }
    dir.write("pool/bad.jsonl", "{\"text\": \"a\"}\n{broken\n{\"text\": \"b\"}\n");
    dir.jsonl("target.jsonl", rows("wanted", 50_000, 60));
    let options = SelectOptions {
        target: Some(dir.at("target.jsonl").as_str().into()),
        budget: Some("20%".into()),
        order: Some(2),
        on_error: gristmill_score::jobs::OnError::Quarantine,
        ..SelectOptions::new(dir.at("pool").as_str().into(), dir.at("out"))
    };
    (dir, options)
}

#[test]
fn killed_at_random_moments_it_ends_with_the_same_bytes() {
    let (dir, options) = setting();
    let whole: SelectSummary = select::run(SelectOptions { threads: Some(1), ..options.clone() }).unwrap();
    assert!(whole.complete);
    let expected = tree(&dir.path("out"));
    assert!(expected.contains_key("_quarantine/bad.jsonl"), "{:?}", expected.keys());

    let mut dice = Dice::new();
    let (mut kills, mut round) = (0, 0);
    let mut took = Duration::from_millis(1500);
    while kills < KILLS {
        let threads = Some([1, 2, 8][round % 3]);
        // Every other round starts over what is there, and may be killed while it does.
        let mut fresh = round % 2 == 1;
        if !fresh {
            std::fs::remove_dir_all(dir.path("out")).unwrap();
        }
        let mut left = took;
        loop {
            let started = Instant::now();
            let mut run = child::start("select", &SelectOptions { threads, fresh, ..options.clone() }, "");
            let until = left.mul_f64(dice.throw() * 1.1);
            while started.elapsed() < until && run.child.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            if run.child.try_wait().unwrap().is_none() && kills < 2 * KILLS {
                run.child.kill().unwrap();
                assert!(run.wait().is_none_or(|result| result.get("ok").is_some()));
                kills += 1;
                // What is done stays done: the rest takes less, but at least as long as a process needs to start.
                left = left.saturating_sub(started.elapsed() / 2).max(took / 4);
                fresh &= kills % 2 == 0;
                continue;
            }
            let result = run.wait().expect("nobody killed it");
            assert!(result.get("ok").is_some(), "round {round}: {result}");
            if round == 0 && left == took {
                took = started.elapsed();
            }
            break;
        }
        assert_same(
            &expected,
            &tree(&dir.path("out")),
            &format!("round {round}, {kills} kills, seed {}", dice.seed),
        );
        round += 1;
    }
    println!("{kills} kills in {round} rounds");
}

#[test]
fn a_full_disk_is_an_error_and_the_job_continues_with_more_room() {
    let (dir, options) = setting();
    select::run(options.clone()).unwrap();
    let expected = tree(&dir.path("out"));
    std::fs::remove_dir_all(dir.path("out")).unwrap();
    // No file may grow beyond some blocks: the system refuses the write as it does on a full disk.
    for blocks in [1, 40] {
        let shell = format!("trap '' XFSZ; ulimit -f {blocks};");
        let result = child::start("select", &options, &shell).wait().expect("an error, no crash");
        assert_eq!(result["code"], "STORAGE_FULL", "{result}");
    }
    select::run(options).unwrap();
    assert_same(&expected, &tree(&dir.path("out")), "continued");
}
