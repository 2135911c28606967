//! The payloads of a round that were looked at, and which of them a manifest would name.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::manifest::{Refused, Taken};
use crate::wire::{Expect, Format, Hash, Payload, Reason, Refusal};

/// Payloads of one peer that are downloaded, at the most: the honest peer has one.
const PER_PEER: usize = 4;

/// What is asked of every payload of a round.
pub(super) struct Rules<'a> {
    pub(super) format: &'a Format,
    pub(super) run: &'a str,
    pub(super) round: u64,
    pub(super) base: Hash,
    pub(super) keys: &'a BTreeMap<String, [u8; 32]>,
}

impl Rules<'_> {
    /// What can be said of an object by its name and size.
    pub(super) fn admit(&self, peer: &str, size: u64) -> Result<(), Refusal> {
        if !self.keys.is_empty() && !self.keys.contains_key(peer) {
            return Err(Refusal::new(Reason::UnknownPeer, format!("no key is known of {peer:?}")));
        }
        let fits = |signed| size == self.format.payload_len(signed) as u64;
        if fits(true) || (self.keys.is_empty() && fits(false)) {
            return Ok(());
        }
        let expected = self.format.payload_len(!self.keys.is_empty());
        Err(Refusal::new(Reason::Length, format!("{size} bytes, where these tensors take {expected}")))
    }

    /// Checks every bit of a payload.
    pub(super) fn verify(&self, peer: &str, hash: Hash, bytes: &[u8]) -> Result<(), Refusal> {
        // First of all, so that what a transfer has damaged is told from what was sent like this.
        if Hash::of(bytes) != hash {
            return Err(Refusal::new(
                Reason::ObjectName,
                "the content is not what the object is named after",
            ));
        }
        let expect = Expect {
            format: self.format,
            run: Some(self.run),
            round: Some(self.round),
            peer: Some(peer),
            base: Some(self.base),
            key: self.keys.get(peer),
        };
        Payload::open(bytes, &expect).map(drop)
    }
}

/// What was found in a round so far.
#[derive(Default)]
pub(super) struct Candidates {
    peers: BTreeMap<String, BTreeMap<Hash, Result<Bytes, Refusal>>>,
}

impl Candidates {
    pub(super) fn knows(&self, peer: &str, hash: &Hash) -> bool {
        self.peers.get(peer).is_some_and(|all| all.contains_key(hash))
    }

    /// Whether another payload of this peer is worth a download.
    pub(super) fn has_room(&self, peer: &str) -> bool {
        self.peers.get(peer).is_none_or(|all| all.len() < PER_PEER)
    }

    pub(super) fn add(&mut self, peer: &str, hash: Hash, verdict: Result<Bytes, Refusal>) {
        self.peers.entry(peer.into()).or_default().insert(hash, verdict);
    }

    /// A payload that passed.
    pub(super) fn get(&self, peer: &str, hash: &Hash) -> Option<&Bytes> {
        self.peers.get(peer)?.get(hash)?.as_ref().ok()
    }

    /// Peers of whom a payload passed, in order.
    pub(super) fn valid(&self) -> impl Iterator<Item = &str> {
        self.peers.iter().filter(|(_, all)| all.values().any(Result::is_ok)).map(|(peer, _)| peer.as_str())
    }

    /// Which payloads a manifest names: of each peer the valid one of the lowest hash, of the first peers in order.
    pub(super) fn choose(&self, max_peers: usize) -> (Vec<Taken>, Vec<Refused>) {
        let (mut accepted, mut refused) = (Vec::<Taken>::new(), Vec::new());
        for (peer, all) in &self.peers {
            for (hash, verdict) in all {
                let refusal = match verdict {
                    Err(refusal) => refusal.clone(),
                    Ok(_) if accepted.last().is_some_and(|t| t.peer == *peer) => {
                        Refusal::new(Reason::Duplicate, "another payload of this peer is taken")
                    }
                    Ok(_) if accepted.len() == max_peers => {
                        Refusal::new(Reason::Crowded, format!("a round takes {max_peers} peers at the most"))
                    }
                    Ok(bytes) => {
                        accepted.push(Taken { peer: peer.clone(), hash: *hash, bytes: bytes.len() as u64 });
                        continue;
                    }
                };
                let reason = refusal.reason.as_str().into();
                refused.push(Refused { peer: peer.clone(), hash: *hash, reason, detail: refusal.detail });
            }
        }
        (accepted, refused)
    }
}
