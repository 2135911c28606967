//! What becomes of payloads and rounds.

use bytes::Bytes;

use super::manifest::Refused;
use crate::wire::Hash;

/// A payload of a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contribution {
    /// Who made it.
    pub peer: String,
    /// The BLAKE3 hash of its bytes.
    pub hash: Hash,
    /// All of it.
    pub bytes: Bytes,
}

/// What became of this peer's own payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is part of the round.
    Taken,
    /// It is not: what it holds was not applied.
    LeftOut,
    /// This peer published nothing in the round, as far as this process knows.
    Absent,
}

impl Standing {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Taken => "taken",
            Standing::LeftOut => "leftOut",
            Standing::Absent => "absent",
        }
    }
}

/// A round that is decided: what every peer applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The round.
    pub round: u64,
    /// The hash of the parameters that it began with.
    pub base: Hash,
    /// The payloads in the order in which they are to be applied.
    pub payloads: Vec<Contribution>,
    /// What whoever committed the round refused, and why.
    pub refused: Vec<Refused>,
    /// What became of this peer's own payload.
    pub own: Standing,
}

/// A payload that was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The BLAKE3 hash of its bytes, under which others know it.
    pub hash: Hash,
    /// Whether it was not there before.
    pub fresh: bool,
    /// Whether the round was decided already without it; then nothing was uploaded.
    pub late: bool,
}
