//! The protocol between peers of one process, over a store in memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use gristmill_comm::rounds::{Accepted, RoundSync, Standing, SyncOptions};
use gristmill_comm::wire::{Format, Hash, seal};
use gristmill_core::{CancelToken, Code, Control};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::support::*;

pub(crate) fn options(peer: &str, peers: usize) -> SyncOptions {
    SyncOptions {
        poll: Duration::from_millis(5),
        timeout: Duration::from_secs(20),
        ..SyncOptions::new(peer, peers)
    }
}

pub(crate) fn sync(store: &Arc<dyn ObjectStore>, options: SyncOptions) -> RoundSync {
    RoundSync::with_store(store.clone(), "some/run-7", options).unwrap()
}

pub(crate) fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

pub(crate) fn put(store: &Arc<dyn ObjectStore>, name: &str, bytes: &[u8]) {
    let path = Path::from(format!("some/run-7/{name}"));
    block_on(store.put(&path, bytes.to_vec().into())).unwrap();
}

pub(crate) fn get(store: &Arc<dyn ObjectStore>, name: &str) -> Vec<u8> {
    let path = Path::from(format!("some/run-7/{name}"));
    block_on(async { store.get(&path).await.unwrap().bytes().await.unwrap().to_vec() })
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Puts a payload where `publish` would, but whatever it is.
fn plant(store: &Arc<dyn ObjectStore>, round: u64, peer: &str, bytes: &[u8]) {
    put(store, &format!("round/{round}/{peer}-{}.grist", Hash::of(bytes)), bytes);
}

fn peers(accepted: &Accepted) -> Vec<&str> {
    accepted.payloads.iter().map(|p| p.peer.as_str()).collect()
}

fn refused(accepted: &Accepted) -> Vec<(&str, &str)> {
    accepted.refused.iter().map(|r| (r.peer.as_str(), r.reason.as_str())).collect()
}

fn control() -> Control {
    Control::default()
}

/// A payload of peer and round whose values say whose it is.
fn complete(format: &Format, round: u64, peer: &str, base: Hash, value: f32) -> Vec<u8> {
    let body: Vec<u8> = [value; 4].iter().flat_map(|x| x.to_le_bytes()).collect();
    seal(format, &address(round, peer, base), [body.as_slice()], None).unwrap()
}

#[test]
fn all_peers_get_the_same_payloads_in_the_same_order() {
    let (store, format) = (memory(), dense(4));
    let names = ["c", "a", "b", "a-2", "Z"];
    let rounds = 5;
    let run = |name: &'static str, i: usize| {
        let (store, format) = (store.clone(), format.clone());
        move || {
            let sync = sync(&store, options(name, 5));
            (0..rounds)
                .map(|round| {
                    // Everybody comes at another time, and in another order each round.
                    std::thread::sleep(Duration::from_millis((i as u64 * 7 + round * 3) % 20));
                    let payload = dense_payload(&format, Hash([round as u8; 32]), &[i as f32; 4]);
                    assert!(sync.publish(round, &payload, &control()).unwrap().fresh);
                    sync.gather(round, None, &control()).unwrap()
                })
                .collect::<Vec<_>>()
        }
    };
    let all: Vec<Vec<Accepted>> = std::thread::scope(|s| {
        let threads: Vec<_> = names.iter().enumerate().map(|(i, name)| s.spawn(run(name, i))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    for one in &all {
        assert_eq!(*one, all[0]);
        assert!(one.iter().all(|accepted| peers(accepted) == ["Z", "a", "a-2", "b", "c"]));
        assert!(one.iter().all(|accepted| accepted.own == Standing::Taken && accepted.refused.is_empty()));
        let first = |accepted: &Accepted| -> Vec<f32> {
            accepted.payloads.iter().map(|p| values(&p.bytes, &format)[0]).collect()
        };
        assert!(one.iter().all(|accepted| first(accepted) == [4.0, 1.0, 3.0, 2.0, 0.0]));
    }
}

#[test]
fn a_quorum_goes_on_after_the_deadline_and_the_late_peer_is_told() {
    let (store, format) = (memory(), dense(4));
    let base = Hash([1; 32]);
    let quick =
        SyncOptions { quorum: Some(2), deadline: Some(Duration::from_millis(120)), ..options("a", 3) };
    let [a, b] = ["a", "b"].map(|peer| sync(&store, SyncOptions { peer: peer.into(), ..quick.clone() }));
    for sync in [&a, &b] {
        sync.publish(0, &dense_payload(&format, base, &[1.0; 4]), &control()).unwrap();
    }
    let started = Instant::now();
    let accepted = a.gather(0, None, &control()).unwrap();
    assert!(started.elapsed() >= Duration::from_millis(120));
    assert_eq!(peers(&accepted), ["a", "b"]);

    let late = sync(&store, options("c", 3));
    let published = late.publish(0, &dense_payload(&format, base, &[2.0; 4]), &control()).unwrap();
    assert!(published.late && !published.fresh);
    let seen = late.gather(0, None, &control()).unwrap();
    assert_eq!((seen.own, &seen.payloads), (Standing::LeftOut, &accepted.payloads));
    assert_eq!(b.gather(0, None, &control()).unwrap().payloads, accepted.payloads);
    // A stranger who only looks on.
    let observer = sync(&store, options("d", 3));
    assert_eq!(observer.gather(0, None, &control()).unwrap().own, Standing::Absent);
}

#[test]
fn too_few_peers_is_a_typed_error_that_says_who_is_there() {
    let (store, format) = (memory(), dense(4));
    let a = sync(&store, SyncOptions { timeout: Duration::from_millis(80), ..options("a", 3) });
    a.publish(0, &dense_payload(&format, Hash([1; 32]), &[1.0; 4]), &control()).unwrap();
    plant(&store, 0, "b", b"nonsense");
    let e = a.gather(0, None, &control()).unwrap_err();
    assert_eq!(e.code(), Code::TimedOut);
    assert!(
        e.to_string().contains("has 1 of 3 peers") && e.to_string().contains("[a]; refused: b (LENGTH)"),
        "{e}"
    );
}

#[test]
fn what_is_refused_is_in_the_manifest_with_its_reason() {
    let (store, format) = (memory(), dense(4));
    let base = Hash([1; 32]);
    let good = |peer: &str, value| complete(&format, 1, peer, base, value);
    plant(&store, 0, "a", b"a round before");
    put(&store, "round/0/manifest.json", b"{}");
    // Damaged in the store, not on the way.
    let mut damaged = good("damaged", 1.0);
    let body = damaged.len() - 40;
    damaged[body] ^= 1;
    plant(&store, 1, "damaged", &damaged);
    plant(&store, 1, "replayed", &complete(&format, 0, "replayed", base, 1.0));
    plant(&store, 1, "stray", &complete(&format, 1, "stray", Hash([9; 32]), 1.0));
    plant(&store, 1, "thief", &good("a", 1.0));
    plant(&store, 1, "nan", &good("nan", f32::NAN));
    plant(&store, 1, "long", &[good("long", 1.0), vec![0]].concat());
    put(&store, &format!("round/1/misnamed-{}.grist", Hash([3; 32])), &good("misnamed", 1.0));
    put(&store, "round/1/notes.txt", b"not ours");
    put(&store, "round/1/.hidden-00.grist", b"not ours");
    // Two of one peer: the one of the lower hash is taken, by everybody.
    let twice = [good("twice", 1.0), good("twice", 2.0)];
    twice.iter().for_each(|bytes| plant(&store, 1, "twice", bytes));
    let lower = twice.iter().map(|b| Hash::of(b)).min().unwrap();

    let a = sync(&store, options("a", 2));
    a.publish(1, &good("a", 1.0), &control()).unwrap();
    let accepted = a.gather(1, None, &control()).unwrap();
    assert_eq!(peers(&accepted), ["a", "twice"]);
    assert_eq!(accepted.payloads[1].hash, lower);
    let expected = [
        ("damaged", "BLOCK_CHECKSUM"),
        ("long", "LENGTH"),
        ("misnamed", "OBJECT_NAME"),
        ("nan", "VALUE"),
        ("replayed", "OTHER_ROUND"),
        ("stray", "BASE_MISMATCH"),
        ("thief", "OTHER_PEER"),
        ("twice", "DUPLICATE"),
    ];
    assert_eq!(refused(&accepted), expected);
    // Whoever comes later learns the same from the manifest.
    let b = sync(&store, options("b", 2));
    let later = b.replay(1, Some(base), &control()).unwrap().unwrap();
    assert_eq!((&later.payloads, &later.refused), (&accepted.payloads, &accepted.refused));
}

#[test]
fn more_peers_may_join_up_to_the_most() {
    let (store, format) = (memory(), dense(4));
    let base = Hash([1; 32]);
    for peer in ["b", "c", "d"] {
        plant(&store, 0, peer, &complete(&format, 0, peer, base, 1.0));
    }
    let a = sync(&store, SyncOptions { max_peers: Some(3), ..options("a", 2) });
    a.publish(0, &complete(&format, 0, "a", base, 1.0), &control()).unwrap();
    let accepted = a.gather(0, None, &control()).unwrap();
    assert_eq!(peers(&accepted), ["a", "b", "c"]);
    assert_eq!(refused(&accepted), [("d", "CROWDED")]);
}

#[test]
fn with_keys_nobody_speaks_for_another() {
    let (store, format) = (memory(), dense(4));
    let base = Hash([1; 32]);
    let seeds = [("a", [1; 32]), ("b", [2; 32])];
    let key = |seed: [u8; 32]| SigningKey::from_bytes(&seed);
    let keys = seeds.map(|(peer, seed)| (peer.to_string(), key(seed).verifying_key().to_bytes())).into();
    let signed = |peer: &str, seed| {
        let body = [0; 16];
        seal(&format, &address(0, peer, base), [&body[..]], Some(&key(seed))).unwrap()
    };
    plant(&store, 0, "b", &complete(&format, 0, "b", base, 1.0));
    plant(&store, 0, "b", &signed("b", [3; 32]));
    plant(&store, 0, "mallory", &signed("mallory", [3; 32]));
    let open = |peer: &str, seed| {
        let mine = SyncOptions { key: Some(seed), keys, ..options(peer, 2) };
        (sync(&store, mine.clone()), mine)
    };
    let (a, mine) = open("a", [1; 32]);
    a.publish(0, &dense_payload(&format, base, &[1.0; 4]), &control()).unwrap();
    let b = sync(&store, SyncOptions { peer: "b".into(), key: Some([2; 32]), ..mine.clone() });
    let e = sync(&store, SyncOptions { key: Some([9; 32]), ..mine.clone() })
        .publish(0, &dense_payload(&format, base, &[1.0; 4]), &control())
        .unwrap_err();
    assert!(e.code() == Code::InvalidArgument && e.to_string().contains("SIGNER"), "{e}");
    // What others planted under its name is in the way of nothing.
    assert_eq!(b.published(0, &control()).unwrap(), None);
    assert!(b.publish(0, &dense_payload(&format, base, &[1.0; 4]), &control()).unwrap().fresh);
    let again = sync(&store, SyncOptions { peer: "b".into(), key: Some([2; 32]), ..mine.clone() });
    assert!(again.published(0, &control()).unwrap().is_some());
    let e = again.publish(0, &dense_payload(&format, base, &[5.0; 4]), &control()).unwrap_err();
    assert_eq!(e.code(), Code::JobMismatch);
    let accepted = a.gather(0, None, &control()).unwrap();
    assert_eq!(peers(&accepted), ["a", "b"]);
    let mut reasons = refused(&accepted);
    reasons.sort();
    assert_eq!(reasons, [("b", "LENGTH"), ("b", "SIGNER"), ("mallory", "UNKNOWN_PEER")]);
    let e = RoundSync::with_store(store.clone(), "run", SyncOptions { key: None, ..mine }).unwrap_err();
    assert_eq!(e.code(), Code::InvalidArgument);
}

#[test]
fn publishing_again() {
    let (store, format) = (memory(), dense(4));
    let base = Hash([1; 32]);
    let open = || sync(&store, options("a", 1));
    let a = open();
    let payload = dense_payload(&format, base, &[1.0; 4]);
    let first = a.publish(0, &payload, &control()).unwrap();
    assert!(first.fresh && !first.late);
    // The same after a restart: nothing to do. Other content: an error, and the way out of it.
    let again = open();
    assert_eq!(again.publish(0, &payload, &control()).unwrap().hash, first.hash);
    let other = dense_payload(&format, base, &[2.0; 4]);
    let e = again.publish(0, &other, &control()).unwrap_err();
    assert_eq!(e.code(), Code::JobMismatch);
    let there = open().published(0, &control()).unwrap().unwrap();
    assert_eq!(Hash::of(&there), first.hash);
    assert!(!again.publish(0, &there, &control()).unwrap().fresh);
    assert_eq!(open().published(1, &control()).unwrap(), None);
    // Another's, another round's, what no peer would take.
    for (payload, what) in [
        (complete(&format, 0, "b", base, 1.0), "peer \"b\""),
        (complete(&format, 5, "a", base, 1.0), "round 5"),
        (dense_payload(&format, base, &[f32::INFINITY; 4]), "VALUE"),
    ] {
        let e = a.publish(0, &payload, &control()).unwrap_err();
        assert!(e.code() == Code::InvalidArgument && e.to_string().contains(what), "{e}");
    }
    assert_eq!(a.publish(0, b"nonsense", &control()).unwrap_err().code(), Code::CorruptData);
}

#[test]
fn another_run_in_the_same_place() {
    let store = memory();
    let base = Hash([1; 32]);
    let a = sync(&store, options("a", 1));
    a.publish(0, &dense_payload(&dense(4), base, &[1.0; 4]), &control()).unwrap();
    let other_tensors = sync(&store, options("b", 1));
    let e = other_tensors.publish(0, &dense_payload(&dense(5), base, &[1.0; 5]), &control()).unwrap_err();
    assert_eq!(e.code(), Code::JobMismatch);
    let other_name = sync(&store, SyncOptions { run: Some("run-8".into()), ..options("b", 1) });
    let e = other_name.publish(0, &dense_payload(&dense(4), base, &[1.0; 4]), &control()).unwrap_err();
    assert_eq!(e.code(), Code::JobMismatch);
}

#[test]
fn replicas_that_went_astray_are_told() {
    let (store, format) = (memory(), dense(4));
    let a = sync(&store, options("a", 1));
    a.publish(0, &dense_payload(&format, Hash([1; 32]), &[1.0; 4]), &control()).unwrap();
    a.gather(0, None, &control()).unwrap();
    let b = sync(&store, options("b", 1));
    let e = b.gather(0, Some(Hash([2; 32])), &control()).unwrap_err();
    assert!(e.code() == Code::JobMismatch && e.to_string().contains("astray"), "{e}");
    // A round ahead of its time.
    a.publish(2, &dense_payload(&format, Hash([1; 32]), &[1.0; 4]), &control()).unwrap();
    let e = a.gather(2, None, &control()).unwrap_err();
    assert!(e.code() == Code::JobMismatch && e.to_string().contains("round 1 is not decided"), "{e}");
}

#[test]
fn a_joiner_catches_up_from_a_checkpoint_and_from_the_start() {
    let (store, format) = (memory(), dense(4));
    let mut params = vec![0f32; 4];
    let step = |params: &mut Vec<f32>, accepted: &Accepted| {
        for p in &accepted.payloads {
            params.iter_mut().zip(values(&p.bytes, &format)).for_each(|(x, d)| *x -= 0.5 * d);
        }
        base_of(&format, params)
    };
    let a = sync(&store, options("a", 1));
    let mut checkpoint = None;
    let rounds = 13;
    for round in 0..rounds {
        if round == 5 {
            checkpoint = Some(params.clone());
        }
        let delta: Vec<f32> = params.iter().map(|x| x - 1.0 - round as f32).collect();
        a.publish(round, &dense_payload(&format, base_of(&format, &params), &delta), &control()).unwrap();
        step(&mut params, &a.gather(round, None, &control()).unwrap());
    }
    for (from, start) in [(0, vec![0f32; 4]), (5, checkpoint.unwrap()), (rounds, params.clone())] {
        // Knows neither the tensors nor the codec.
        let joiner = sync(&store, options("j", 1));
        assert_eq!(joiner.next_round(&control()).unwrap(), rounds);
        let mut mine = start;
        let base = base_of(&format, &mine);
        let next = joiner
            .catch_up(from, Some(base), &control(), |accepted| Ok(Some(step(&mut mine, &accepted))))
            .unwrap();
        assert_eq!((next, &mine), (rounds, &params));
        assert_eq!(joiner.meter().rounds, rounds - from);
    }
    // From parameters that never were.
    let joiner = sync(&store, options("j", 1));
    let e =
        joiner.catch_up(5, Some(Hash([0; 32])), &control(), |_| panic!("nothing is given out")).unwrap_err();
    assert_eq!(e.code(), Code::JobMismatch);
    assert_eq!(sync(&memory(), options("j", 1)).next_round(&control()).unwrap(), 0);
}

#[test]
fn a_stop_ends_the_wait_and_changes_nothing() {
    let (store, format) = (memory(), dense(4));
    let a = sync(&store, SyncOptions { poll: Duration::from_secs(60), ..options("a", 2) });
    let base = Hash([1; 32]);
    a.publish(0, &dense_payload(&format, base, &[1.0; 4]), &control()).unwrap();
    let cancel = CancelToken::default();
    let started = Instant::now();
    let e = std::thread::scope(|s| {
        let gather = s.spawn(|| a.gather(0, None, &Control::with_cancel(cancel.clone())));
        std::thread::sleep(Duration::from_millis(50));
        cancel.cancel();
        gather.join().unwrap().unwrap_err()
    });
    assert_eq!(e.code(), Code::Aborted);
    assert!(started.elapsed() < Duration::from_secs(10));
    plant(&store, 0, "b", &complete(&format, 0, "b", base, 1.0));
    assert_eq!(peers(&a.gather(0, None, &control()).unwrap()), ["a", "b"]);
}

#[test]
fn what_it_costs_is_counted() {
    let (store, format) = (memory(), dense(4));
    let base = Hash([1; 32]);
    let [a, b] = ["a", "b"].map(|peer| sync(&store, options(peer, 2)));
    for sync in [&a, &b] {
        sync.publish(0, &dense_payload(&format, base, &[1.0; 4]), &control()).unwrap();
    }
    a.gather(0, None, &control()).unwrap();
    b.gather(0, None, &control()).unwrap();
    let payload = format.payload_len(false) as u64;
    let manifest = get(&store, "round/0/manifest.json").len() as u64;
    let run = get(&store, "run.json").len() as u64;
    // a creates the run and the manifest; b reads both. Each has the other's payload to download, not its own.
    let (ma, mb) = (a.meter(), b.meter());
    assert_eq!((ma.bytes_up, mb.bytes_up), (run + payload + manifest, payload));
    assert_eq!((ma.bytes_down, mb.bytes_down), (manifest + payload, run + manifest + payload));
    assert_eq!((ma.rounds, ma.retries, ma.refused), (1, 0, 0));
    assert!(ma.publish_seconds > 0.0 && ma.fetch_seconds > 0.0 && ma.verify_seconds > 0.0);
}

#[test]
fn options_that_cannot_be() {
    for (wrong, option) in [
        (SyncOptions::new("", 1), "peer"),
        (SyncOptions::new("a/b", 1), "peer"),
        (SyncOptions::new("a", 0), "peers"),
        (SyncOptions { quorum: Some(0), ..SyncOptions::new("a", 2) }, "quorum"),
        (SyncOptions { quorum: Some(3), ..SyncOptions::new("a", 2) }, "quorum"),
        (SyncOptions { quorum: Some(1), ..SyncOptions::new("a", 2) }, "quorum"),
        (SyncOptions { max_peers: Some(1), ..SyncOptions::new("a", 2) }, "maxPeers"),
        (SyncOptions { parallel: 0, ..SyncOptions::new("a", 2) }, "parallel"),
        (SyncOptions { run: Some("a b".into()), ..SyncOptions::new("a", 2) }, "run"),
    ] {
        let e = RoundSync::with_store(memory(), "some/run-7", wrong).unwrap_err();
        assert_eq!((e.code(), e.location().column.as_deref()), (Code::InvalidArgument, Some(option)));
    }
    let e = RoundSync::open("sftp://host/run", SyncOptions::new("a", 2)).unwrap_err();
    assert_eq!(e.code(), Code::InvalidArgument);
}
