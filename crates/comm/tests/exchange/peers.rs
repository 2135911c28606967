//! A peer in a process of its own, to be killed: this test binary runs itself.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use gristmill_comm::rounds::{Accepted, RoundSync, SyncOptions};
use gristmill_comm::wire::Format;
use gristmill_core::{Control, Result};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use serde::{Deserialize, Serialize};

use crate::store::{Fault, FaultStore};
use crate::support::*;

const REQUEST: &str = "GRISTMILL_TEST_PEER";

/// Values of the model.
const SIZE: usize = 24;

/// What a peer process does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Peer {
    /// A directory, or a URL.
    pub(crate) place: String,
    pub(crate) peer: String,
    pub(crate) peers: usize,
    pub(crate) quorum: Option<usize>,
    pub(crate) deadline_ms: Option<u64>,
    pub(crate) rounds: u64,
    /// Where it keeps its checkpoint.
    pub(crate) checkpoint: String,
    /// Kill the process at this request to the store; before it, or else after it.
    pub(crate) kill: Option<(usize, bool)>,
}

/// What a peer remembers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub(crate) round: u64,
    pub(crate) params: Vec<f32>,
}

/// What a peer has learned in a round: a step to a place of its own, which depends on where the model is.
pub(crate) fn delta(peer: &str, round: u64, params: &[f32]) -> Vec<f32> {
    let target = f32::from(peer.as_bytes()[0]) / 100.0;
    let step = |(i, x): (usize, &f32)| 0.25 * (x - target) + 0.001 * (i as f32 + round as f32).sin();
    params.iter().enumerate().map(step).collect()
}

/// Applies a round: the mean of what the peers sent, in their order.
pub(crate) fn apply(params: &mut [f32], deltas: &[Vec<f32>]) {
    for (i, x) in params.iter_mut().enumerate() {
        let sum = deltas.iter().fold(0f32, |sum, d| sum + d[i]);
        *x -= 0.7 * sum / deltas.len() as f32;
    }
}

pub(crate) fn start_params() -> Vec<f32> {
    (0..SIZE).map(|i| i as f32 * 0.1).collect()
}

/// Not a test of its own: what the child process runs. Does nothing when it is not asked to.
#[test]
fn entry() {
    let Ok(request) = std::env::var(REQUEST) else { return };
    let peer: Peer = serde_json::from_str(&request).unwrap();
    train(&peer).unwrap();
}

fn train(peer: &Peer) -> Result<()> {
    let (control, format) = (Control::default(), dense(SIZE));
    let sync = open(peer)?;
    let mut at = read(&peer.checkpoint).unwrap_or(Checkpoint { round: 0, params: start_params() });
    let base = |at: &Checkpoint| base_of(&format, &at.params);
    // What was decided meanwhile.
    let first = base(&at);
    sync.catch_up(at.round, Some(first), &control, |accepted| {
        advance(&mut at, &accepted, &format);
        write(&peer.checkpoint, &at);
        Ok(Some(base(&at)))
    })?;
    while at.round < peer.rounds {
        let payload = dense_payload(&format, base(&at), &delta(&peer.peer, at.round, &at.params));
        sync.publish(at.round, &payload, &control)?;
        let accepted = sync.gather(at.round, None, &control)?;
        advance(&mut at, &accepted, &format);
        write(&peer.checkpoint, &at);
    }
    Ok(())
}

fn open(peer: &Peer) -> Result<RoundSync> {
    let options = SyncOptions {
        run: Some("run-7".into()),
        quorum: peer.quorum,
        deadline: peer.deadline_ms.map(Duration::from_millis),
        poll: Duration::from_millis(10),
        timeout: Duration::from_secs(60),
        ..SyncOptions::new(&peer.peer, peer.peers)
    };
    let Some((number, before)) = peer.kill else { return RoundSync::open(&peer.place, options) };
    let store: Arc<dyn ObjectStore> =
        FaultStore::new(Arc::new(LocalFileSystem::new_with_prefix(&peer.place).unwrap()), move |r| {
            match (r.number == number, before) {
                (false, _) => Fault::None,
                (true, true) => Fault::KillBefore,
                (true, false) => Fault::KillAfter,
            }
        });
    RoundSync::with_store(store, "", options)
}

fn advance(at: &mut Checkpoint, accepted: &Accepted, format: &Format) {
    assert_eq!(accepted.round, at.round);
    let deltas: Vec<_> = accepted.payloads.iter().map(|p| values(&p.bytes, format)).collect();
    apply(&mut at.params, &deltas);
    at.round += 1;
}

pub(crate) fn read(path: &str) -> Option<Checkpoint> {
    Some(serde_json::from_slice(&std::fs::read(path).ok()?).unwrap())
}

fn write(path: &str, at: &Checkpoint) {
    let next = format!("{path}.next");
    std::fs::write(&next, serde_json::to_vec(at).unwrap()).unwrap();
    std::fs::rename(next, path).unwrap();
}

impl Peer {
    pub(crate) fn new(dir: &Path, place: &str, peer: &str, peers: usize, rounds: u64) -> Self {
        Self {
            place: place.into(),
            peer: peer.into(),
            peers,
            quorum: None,
            deadline_ms: None,
            rounds,
            checkpoint: dir.join(format!("{peer}.json")).to_str().unwrap().into(),
            kill: None,
        }
    }

    pub(crate) fn start(&self, settings: &[(&str, String)]) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["peers::entry", "--exact", "--test-threads", "1"])
            .env(REQUEST, serde_json::to_string(self).unwrap())
            .envs(settings.iter().map(|(k, v)| (k, v)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Its checkpoint, which must be of the last round.
    pub(crate) fn result(&self) -> Checkpoint {
        let at = read(&self.checkpoint).expect("there is a checkpoint");
        assert_eq!(at.round, self.rounds, "{}", self.peer);
        at
    }
}

/// Waits for a peer that must end well.
pub(crate) fn finish(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The parameters after some rounds in which all peers took part, worked out without any of the protocol.
pub(crate) fn expected(peers: &[&str], rounds: u64) -> Checkpoint {
    let mut params = start_params();
    for round in 0..rounds {
        let deltas: Vec<_> = peers.iter().map(|peer| delta(peer, round, &params)).collect();
        apply(&mut params, &deltas);
    }
    Checkpoint { round: rounds, params }
}
