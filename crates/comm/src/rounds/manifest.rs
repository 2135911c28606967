//! The record that decides a round.

use bytes::Bytes;
use gristmill_core::{Code, Error, Result};
use serde::{Deserialize, Serialize};

use crate::wire::{Hash, is_name};

const VERSION: u32 = 1;

/// A payload that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Taken {
    pub(super) peer: String,
    pub(super) hash: Hash,
    pub(super) bytes: u64,
}

/// A payload that was not taken, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// Who made it, by the name of the object.
    pub peer: String,
    /// The hash that the object is named after.
    pub hash: Hash,
    /// The text form of the [`Reason`](crate::wire::Reason).
    pub reason: String,
    /// The particulars.
    pub detail: String,
}

/// What every peer aggregates in a round, and in what order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) version: u32,
    pub(super) run: String,
    pub(super) round: u64,
    pub(super) format: Hash,
    pub(super) base: Hash,
    pub(super) accepted: Vec<Taken>,
    pub(super) refused: Vec<Refused>,
}

/// What the whole run agrees on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunRecord {
    version: u32,
    pub(super) run: String,
    pub(super) format: Hash,
}

impl RunRecord {
    pub(super) fn new(run: &str, format: Hash) -> Self {
        Self { version: VERSION, run: run.into(), format }
    }
}

impl Manifest {
    pub(super) fn new(run: &str, round: u64, format: Hash, base: Hash) -> Self {
        let (accepted, refused) = (Vec::new(), Vec::new());
        Self { version: VERSION, run: run.into(), round, format, base, accepted, refused }
    }

    pub(super) fn parse(text: &[u8], shown: &str) -> Result<Self> {
        let manifest: Self = parse(text, shown)?;
        let bad =
            |what: &str| Err(Error::new(Code::CorruptData, format!("the manifest {what}")).at_path(shown));
        if manifest.version != VERSION {
            return bad("is of another version");
        }
        if manifest.accepted.is_empty() {
            return bad("names no payload");
        }
        if !manifest.accepted.iter().all(|t| is_name(&t.peer)) {
            return bad("names a peer that is no name");
        }
        if !manifest.accepted.is_sorted_by(|a, b| a.peer < b.peer) {
            return bad("does not name its peers in order, each once");
        }
        Ok(manifest)
    }
}

pub(super) fn parse<T: for<'a> Deserialize<'a>>(text: &[u8], shown: &str) -> Result<T> {
    serde_json::from_slice(text)
        .map_err(|e| Error::new(Code::CorruptData, format!("the record is damaged: {e}")).at_path(shown))
}

pub(super) fn to_json(value: &impl Serialize) -> Result<Bytes> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|e| Error::new(Code::Internal, format!("cannot encode a record: {e}")))?;
    text.push(b'\n');
    Ok(text.into())
}

pub(super) fn round_dir(round: u64) -> String {
    format!("round/{round}")
}

pub(super) fn manifest_name(round: u64) -> String {
    format!("round/{round}/manifest.json")
}

pub(super) fn payload_name(round: u64, peer: &str, hash: &Hash) -> String {
    format!("round/{round}/{peer}-{hash}.grist")
}

/// Peer and hash of the name of a payload, without its directory.
pub(super) fn parse_payload_name(name: &str) -> Option<(&str, Hash)> {
    let (peer, hash) = name.strip_suffix(".grist")?.rsplit_once('-')?;
    is_name(peer).then_some(())?;
    Some((peer, hash.parse().ok()?))
}
