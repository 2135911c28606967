//! Who takes part, and how long one waits for the others.

use std::collections::BTreeMap;
use std::time::Duration;

use gristmill_core::{Error, Result};

use crate::wire::{Format, check_name};

/// Settings of a [`RoundSync`](super::RoundSync). `run`, `peers` and `format` should be equal on all peers; the rest
/// is each one's own.
#[derive(Debug, Clone)]
pub struct SyncOptions {
    /// The name of this peer, unlike that of any other.
    pub peer: String,
    /// How many peers a round waits for; with all of them there it is committed at once.
    pub peers: usize,
    /// The run. Left out, it is the last part of the URL.
    pub run: Option<String>,
    /// Peers that suffice once the deadline has passed. Left out, it is `peers`.
    pub quorum: Option<usize>,
    /// Peers that a round takes at the most, so that others may join. Left out, it is `peers`.
    pub max_peers: Option<usize>,
    /// How long to wait for all peers before a quorum suffices, from the start of [`gather`](super::RoundSync::gather).
    pub deadline: Option<Duration>,
    /// How long to wait before giving up.
    pub timeout: Duration,
    /// How long to wait between two looks at the store, at the most.
    pub poll: Duration,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// How often a request that failed for a passing reason is tried again, with growing pauses, beyond what the
    /// store's client does by itself.
    pub retries: u32,
    /// Downloads at a time.
    pub parallel: usize,
    /// The codec and the tensors. Left out, they are those of the first payload that this peer publishes.
    pub format: Option<Format>,
    /// The secret key (the 32 bytes of its seed) to sign payloads with.
    pub key: Option<[u8; 32]>,
    /// The public keys of the peers. With any here, only these peers are taken, and only with their signature.
    pub keys: BTreeMap<String, [u8; 32]>,
}

impl SyncOptions {
    /// Settings for a peer of a run of this many peers, with the defaults for the rest.
    pub fn new(peer: impl Into<String>, peers: usize) -> Self {
        Self {
            peer: peer.into(),
            peers,
            run: None,
            quorum: None,
            max_peers: None,
            deadline: None,
            timeout: Duration::from_secs(600),
            poll: Duration::from_secs(1),
            request_timeout: Duration::from_secs(120),
            retries: 6,
            parallel: 8,
            format: None,
            key: None,
            keys: BTreeMap::new(),
        }
    }

    pub(super) fn quorum(&self) -> usize {
        self.quorum.unwrap_or(self.peers)
    }

    pub(super) fn max_peers(&self) -> usize {
        self.max_peers.unwrap_or(self.peers)
    }

    pub(super) fn check(&self) -> Result<()> {
        check_name("peer", &self.peer)?;
        if let Some(run) = &self.run {
            check_name("run", run)?;
        }
        self.keys.keys().try_for_each(|name| check_name("keys", name))?;
        let bad = |option: &str, text: String| Err(Error::invalid_argument(option, text));
        if self.peers == 0 || self.peers > 4096 {
            return bad("peers", format!("expected 1 to 4096, given {}", self.peers));
        }
        if self.quorum() == 0 || self.quorum() > self.peers {
            return bad("quorum", format!("expected 1 to peers = {}, given {}", self.peers, self.quorum()));
        }
        if self.max_peers() < self.peers || self.max_peers() > 4096 {
            return bad(
                "maxPeers",
                format!("expected peers = {} to 4096, given {}", self.peers, self.max_peers()),
            );
        }
        if self.quorum() < self.peers && self.deadline.is_none() {
            return bad("quorum", "a quorum says nothing without a deadline".into());
        }
        if self.parallel == 0 {
            return bad("parallel", "expected at least 1".into());
        }
        if self.key.is_none() && self.keys.contains_key(&self.peer) {
            return bad("key", "the others expect this peer's signature; give its secret key".into());
        }
        Ok(())
    }
}
