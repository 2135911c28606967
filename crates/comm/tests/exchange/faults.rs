//! Stores that are busy, slow, lossy or wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use gristmill_comm::rounds::{RoundSync, Standing, SyncOptions};
use gristmill_comm::wire::Hash;
use gristmill_core::{Code, Control};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::rounds::{block_on, get, memory, options, put, sync};
use crate::store::{Fault, FaultStore, Request};
use crate::support::*;

const BASE_0: Hash = Hash([1; 32]);

/// Peers `a` and `b`, of which `a` sees the store through a plan of faults.
fn pair(
    plan: impl Fn(&Request<'_>) -> Fault + Send + Sync + 'static,
) -> (Arc<dyn ObjectStore>, RoundSync, RoundSync) {
    pair_with(plan, options("a", 2))
}

fn pair_with(
    plan: impl Fn(&Request<'_>) -> Fault + Send + Sync + 'static,
    mine: SyncOptions,
) -> (Arc<dyn ObjectStore>, RoundSync, RoundSync) {
    let store = memory();
    let faulty: Arc<dyn ObjectStore> = FaultStore::new(store.clone(), plan);
    let (a, b) = (sync(&faulty, mine), sync(&store, options("b", 2)));
    (store, a, b)
}

fn publish(sync: &RoundSync) -> gristmill_core::Result<gristmill_comm::rounds::Published> {
    sync.publish(0, &dense_payload(&dense(4), BASE_0, &[1.0; 4]), &Control::default())
}

#[test]
fn every_request_fails_twice_and_the_round_completes() {
    for fault in [Fault::Busy, Fault::Lost] {
        let failed = AtomicUsize::new(0);
        let (_, a, b) = pair(move |r| {
            // Two of three tries, whatever it is that is asked for.
            let fails = r.number % 3 != 2;
            failed.fetch_add(usize::from(fails), SeqCst);
            if fails { fault } else { Fault::None }
        });
        publish(&b).unwrap();
        publish(&a).unwrap();
        let accepted = a.gather(0, None, &Control::default()).unwrap();
        assert_eq!(accepted.own, Standing::Taken);
        assert_eq!(accepted.payloads, b.gather(0, None, &Control::default()).unwrap().payloads);
        assert!(a.meter().retries >= 10, "{:?}", a.meter());
    }
}

#[test]
fn a_lost_answer_to_the_conditional_create_is_found_out() {
    // The manifest is there, and whoever created it does not know; the other may have been first, too.
    for first in [true, false] {
        let lost = AtomicUsize::new(0);
        let (store, a, b) = pair(move |r| {
            let create = r.what == "put" && r.path.ends_with("manifest.json");
            if create && lost.fetch_add(1, SeqCst) == 0 { Fault::Lost } else { Fault::None }
        });
        publish(&a).unwrap();
        publish(&b).unwrap();
        if !first {
            b.gather(0, None, &Control::default()).unwrap();
        }
        let accepted = a.gather(0, None, &Control::default()).unwrap();
        assert_eq!(accepted.payloads.len(), 2);
        let manifest = get(&store, "round/0/manifest.json");
        assert_eq!(b.gather(0, None, &Control::default()).unwrap().payloads, accepted.payloads);
        assert_eq!(get(&store, "round/0/manifest.json"), manifest);
    }
}

#[test]
fn a_store_that_stays_away_is_an_io_error() {
    let (_, a, _) = pair_with(|_| Fault::Busy, SyncOptions { retries: 2, ..options("a", 2) });
    let e = publish(&a).unwrap_err();
    assert!(e.code() == Code::Io && e.to_string().contains("503"), "{e}");
    assert_eq!(a.meter().retries, 2);
    let quick = SyncOptions { retries: 1, request_timeout: Duration::from_millis(30), ..options("a", 2) };
    let (_, a, _) = pair_with(|_| Fault::Hang, quick);
    assert_eq!(publish(&a).unwrap_err().code(), Code::TimedOut);
}

#[test]
fn what_is_damaged_on_the_way_is_fetched_again() {
    let once = AtomicUsize::new(0);
    let (_, a, b) = pair(move |r| {
        let first = r.what == "get" && r.path.ends_with(".grist") && once.fetch_add(1, SeqCst) < 2;
        if first { Fault::Damage } else { Fault::None }
    });
    publish(&a).unwrap();
    publish(&b).unwrap();
    let accepted = a.gather(0, None, &Control::default()).unwrap();
    assert_eq!((accepted.payloads.len(), accepted.refused.len()), (2, 0));
}

#[test]
fn nothing_is_given_out_when_one_payload_of_a_manifest_is_bad() {
    let (store, a, b) = pair(|_| Fault::None);
    publish(&a).unwrap();
    publish(&b).unwrap();
    let accepted = b.gather(0, None, &Control::default()).unwrap();
    let name = format!("round/0/b-{}.grist", accepted.payloads[1].hash);
    let good = get(&store, &name);
    let fresh = || sync(&store, options("c", 2));
    let gather = || fresh().gather(0, Some(BASE_0), &Control::default());

    let mut damaged = good.clone();
    damaged[300] ^= 1;
    put(&store, &name, &damaged);
    assert_eq!(gather().unwrap_err().code(), Code::CorruptData);
    let path = Path::from(format!("some/run-7/{name}"));
    block_on(store.delete(&path)).unwrap();
    assert_eq!(gather().unwrap_err().code(), Code::NotFound);
    put(&store, &name, &good);
    assert_eq!(gather().unwrap().payloads, accepted.payloads);

    let manifest = String::from_utf8(get(&store, "round/0/manifest.json")).unwrap();
    for (forged, code) in [
        (manifest.replace("\"round\": 0", "\"round\": 1"), Code::JobMismatch),
        (manifest.replace("run-7", "run-8"), Code::JobMismatch),
        (manifest.replace("\"peer\": \"b\"", "\"peer\": \"c\""), Code::NotFound),
        (manifest.replace("\"peer\": \"a\"", "\"peer\": \"b\""), Code::CorruptData),
        (manifest.replace("\"peer\": \"a\"", "\"peer\": \"../a\""), Code::CorruptData),
        (manifest.replace("\"version\": 1", "\"version\": 2"), Code::CorruptData),
        (manifest.replace("\"bytes\": ", "\"bytes\": 9"), Code::NotFound),
        (manifest.replace("\"accepted\": [", "\"accepted\": [], \"x\": ["), Code::CorruptData),
        (manifest[..manifest.len() / 2].to_string(), Code::CorruptData),
        (String::new(), Code::CorruptData),
    ] {
        assert_ne!(forged, manifest);
        put(&store, "round/0/manifest.json", forged.as_bytes());
        assert_eq!(gather().unwrap_err().code(), code, "{forged}");
    }
}

#[test]
fn large_payloads_travel_in_parts() {
    // 40 MB: three parts up and down, some of which fail.
    let format = dense(10_000_000);
    let values: Vec<f32> = (0..10_000_000).map(|i| (i % 1000) as f32).collect();
    let payload = dense_payload(&format, BASE_0, &values);
    let (_, a, b) = pair(|r| {
        let large = r.path.ends_with(".grist") && matches!(r.what, "get" | "multipart");
        if large && r.number % 2 == 0 { Fault::Busy } else { Fault::None }
    });
    for sync in [&a, &b] {
        sync.publish(0, &payload, &Control::default()).unwrap();
    }
    let accepted = a.gather(0, None, &Control::default()).unwrap();
    assert_eq!(accepted.payloads.len(), 2);
    assert_eq!(crate::support::values(&accepted.payloads[1].bytes, &format), values);
    assert_eq!(b.gather(0, None, &Control::default()).unwrap().payloads, accepted.payloads);
}
