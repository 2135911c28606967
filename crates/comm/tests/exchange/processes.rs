//! Several processes on one machine, killed at every request to the store and at random moments.

use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::Duration;

use crate::peers::{Peer, expected, finish};
use crate::support::random;

const NAMES: [&str; 3] = ["a", "b", "c"];

fn setting(rounds: u64) -> (tempfile::TempDir, [Peer; 3]) {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("run");
    std::fs::create_dir(&place).unwrap();
    let peers = NAMES.map(|name| Peer::new(dir.path(), place.to_str().unwrap(), name, 3, rounds));
    (dir, peers)
}

/// Waits for a peer; whether it was killed.
fn killed(child: Child) -> bool {
    let output = child.wait_with_output().unwrap();
    let killed = output.status.signal() == Some(9);
    assert!(killed || output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    killed
}

/// Waits until a round is decided.
fn wait_for_round(peer: &Peer, round: u64) {
    let manifest = std::path::Path::new(&peer.place).join(format!("round/{round}/manifest.json"));
    let start = std::time::Instant::now();
    while !manifest.exists() {
        assert!(start.elapsed() < Duration::from_secs(120), "round {round} is not decided");
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn killed_before_and_after_every_request_it_ends_with_the_same_bits() {
    const ROUNDS: u64 = 2;
    let expected = expected(&NAMES, ROUNDS);
    let (mut kills, mut finished) = (0, 0);
    for number in 0.. {
        for before in [true, false] {
            let (_dir, [a, b, c]) = setting(ROUNDS);
            let others = [a.start(&[]), c.start(&[])];
            let victim = Peer { kill: Some((number, before)), ..b.clone() }.start(&[]);
            if killed(victim) {
                kills += 1;
                finish(b.start(&[]));
            } else {
                finished += 1;
            }
            others.into_iter().for_each(finish);
            for (peer, expected) in [&a, &b, &c].into_iter().zip(&expected) {
                let what = format!("{}, killed at request {number}, before: {before}", peer.peer);
                assert!(peer.result() == *expected, "{what}");
            }
        }
        // It had ended before it came to this request, several times: how often it looks depends on the others.
        if finished >= 6 {
            break;
        }
    }
    println!("{kills} kills");
    assert!(kills >= 2 * 16, "{kills} kills are fewer than two rounds have requests");
}

#[test]
fn killed_at_random_moments_all_end_with_the_same_bits() {
    const ROUNDS: u64 = 120;
    let seed = std::env::var("GRISTMILL_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let expected = expected(&NAMES, ROUNDS);
    let (_dir, peers) = setting(ROUNDS);
    let mut running: Vec<Child> = peers.iter().map(|p| p.start(&[])).collect();
    let mut kills = 0;
    for i in 0..30 {
        // Rounds are the clock, so that a fast machine has not ended before the first kill.
        wait_for_round(&peers[0], 3 * i);
        std::thread::sleep(Duration::from_micros(random(seed, 2 * i) % 12_000));
        let victim = (random(seed, 2 * i + 1) % 3) as usize;
        running[victim].kill().unwrap();
        let next = peers[victim].start(&[]);
        kills += u32::from(killed(std::mem::replace(&mut running[victim], next)));
    }
    running.into_iter().for_each(finish);
    assert!(kills >= 5, "{kills} kills");
    println!("{kills} kills");
    for (peer, expected) in peers.iter().zip(&expected) {
        assert!(peer.result() == *expected, "{}, seed {seed}, {kills} kills", peer.peer);
    }
}

#[test]
fn others_go_on_without_a_dead_peer_which_catches_up_and_joins_again() {
    let (_dir, peers) = setting(6);
    let peers = peers.map(|p| Peer { quorum: Some(2), deadline_ms: Some(150), ..p });
    // It dies before it has published anything, and comes back when the others are rounds ahead.
    let [a, b, c] = &peers;
    let victim = Peer { kill: Some((0, true)), ..b.clone() }.start(&[]);
    let others = [a.start(&[]), c.start(&[])];
    assert!(killed(victim));
    wait_for_round(a, 1);
    finish(b.start(&[]));
    others.into_iter().for_each(finish);
    assert_eq!(a.result().hash(), b.result().hash());
    assert_eq!(a.result().hash(), c.result().hash());
    assert_ne!(a.result().hash(), expected(&NAMES, 6)[0].hash(), "the first rounds were without one of them");
}
