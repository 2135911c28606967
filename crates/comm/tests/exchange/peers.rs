//! A peer in a process of its own, to be killed: this test binary runs itself.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use gristmill_comm::method::{Method, SparseLoCo, SparseLoCoOptions};
use gristmill_comm::rounds::{Accepted, RoundSync, SyncOptions};
use gristmill_comm::wire::{Hash, address};
use gristmill_core::{Control, Result, Tensor};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use serde::{Deserialize, Serialize};

use crate::store::{Fault, FaultStore};
use crate::support::address as to;

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

/// What a peer remembers: of a replica all of it, with what was left unsent; and the payload that was made of it, from then
/// on until it is applied, since a replica says nothing twice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub(crate) round: u64,
    state: Vec<u8>,
    payload: Option<Vec<u8>>,
}

impl Checkpoint {
    /// The hash of the parameters.
    pub(crate) fn hash(&self) -> Hash {
        let mut loco = replica();
        loco.load(&self.state).unwrap();
        loco.hash().unwrap()
    }
}

/// A replica of which a quarter is sent.
fn replica() -> SparseLoCo {
    let device = gristmill_cpu::open().unwrap();
    let start = device.tensor((0..SIZE).map(|i| i as f32 * 0.1).collect(), [SIZE]).unwrap();
    let options = SparseLoCoOptions { outer_lr: 0.7, chunk: 8, top_k: 2, ..Default::default() };
    SparseLoCo::new(&device, &[("w".into(), start)], options).unwrap()
}

/// What a peer's training makes of the parameters: a step to a place of its own, which depends on where they are.
fn trained(peer: &str, round: u64, loco: &SparseLoCo) -> Tensor {
    let target = f32::from(peer.as_bytes()[0]) / 100.0;
    let step = |(i, x): (usize, &f32)| x - 0.25 * (x - target) - 0.001 * (i as f32 + round as f32).sin();
    let params = loco.params()[0].to_vec::<f32>().unwrap();
    loco.params()[0].device().tensor(params.iter().enumerate().map(step).collect(), [SIZE]).unwrap()
}

/// Not a test of its own: what the child process runs. Does nothing when it is not asked to.
#[test]
fn entry() {
    let Ok(request) = std::env::var(REQUEST) else { return };
    let peer: Peer = serde_json::from_str(&request).unwrap();
    train(&peer).unwrap();
}

fn train(peer: &Peer) -> Result<()> {
    let control = Control::default();
    let sync = open(peer)?;
    let mut loco = replica();
    let fresh = Checkpoint { round: 0, state: loco.save()?, payload: None };
    let mut at = read(&peer.checkpoint).unwrap_or(fresh);
    loco.load(&at.state)?;
    // What was decided meanwhile.
    let first = loco.hash()?;
    sync.catch_up(at.round, Some(first), &control, |accepted| {
        advance(&mut at, &mut loco, &accepted)?;
        write(&peer.checkpoint, &at);
        Ok(Some(loco.hash()?))
    })?;
    while at.round < peer.rounds {
        let payload = match at.payload.take() {
            Some(payload) => payload,
            None => loco.encode(&[trained(&peer.peer, at.round, &loco)], &control)?,
        };
        at = Checkpoint { state: loco.save()?, payload: Some(payload.clone()), ..at };
        write(&peer.checkpoint, &at);
        sync.publish(at.round, &payload, &control)?;
        let accepted = sync.gather(at.round, None, &control)?;
        advance(&mut at, &mut loco, &accepted)?;
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

fn advance(at: &mut Checkpoint, loco: &mut SparseLoCo, accepted: &Accepted) -> Result<()> {
    assert_eq!(accepted.round, at.round);
    let payloads: Vec<_> = accepted.payloads.iter().map(|p| p.bytes.to_vec()).collect();
    loco.apply(&payloads, &Control::default())?;
    *at = Checkpoint { round: at.round + 1, state: loco.save()?, payload: None };
    Ok(())
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

/// What each peer remembers after some rounds in which all took part, worked out without a store.
pub(crate) fn expected(peers: &[&str], rounds: u64) -> Vec<Checkpoint> {
    let mut replicas: Vec<_> = peers.iter().map(|_| replica()).collect();
    for round in 0..rounds {
        let say = |(loco, peer): (&mut SparseLoCo, &&str)| {
            let payload = loco.encode(&[trained(peer, round, loco)], &Control::default()).unwrap();
            address(&payload, &to(round, peer, loco.hash().unwrap()), None).unwrap()
        };
        let payloads: Vec<_> = replicas.iter_mut().zip(peers).map(say).collect();
        replicas.iter_mut().for_each(|loco| loco.apply(&payloads, &Control::default()).unwrap());
    }
    let remember =
        |loco: &SparseLoCo| Checkpoint { round: rounds, state: loco.save().unwrap(), payload: None };
    replicas.iter().map(remember).collect()
}
