//! How peers that share nothing but a store agree on what each round is made of.
//!
//! # Objects
//!
//! ```text
//! run.json                              the run and its format: created once, compared by everybody
//! round/<n>/<peer>-<blake3>.grist       a payload, never changed: its name is the hash of its content
//! round/<n>/manifest.json               which payloads the round is made of, in order: created once
//! ```
//!
//! # A round
//!
//! 1. [`publish`](RoundSync::publish): a peer uploads its payload.
//! 2. [`gather`](RoundSync::gather): it downloads the payloads of the others as they come, and checks every bit of them
//!    ([`wire`](crate::wire)). When those of all peers are there, or a quorum when the deadline has passed, it creates
//!    the manifest on the condition that there is none. Whoever comes second reads the manifest of the first.
//! 3. Every peer applies exactly the payloads that the manifest names, in the order of the peers' names. They are
//!    given to the caller once all of them are there and whole, never some of them.
//!
//! There is no leader, no clock that must agree and no lock. A payload that comes after the manifest is late: its peer
//! learns that from [`Standing`], and must give back to its error feedback what was not applied. A peer that was away
//! calls [`replay`](RoundSync::replay) or [`catch_up`](RoundSync::catch_up) from its checkpoint on. Every payload and every
//! manifest carries the hash of the parameters that the round began with, so a replica that went astray is told so at
//! the next round.
//!
//! # When things go wrong
//!
//! * A process may be killed at any moment. What it published stands; what it did not publish never was. Started
//!   again, it replays the rounds that were committed, and publishes what is missing. One that finds an own payload of
//!   other content in the round is told so ([`Code::JobMismatch`]) and can take [that one](RoundSync::published).
//! * A request that fails for a passing reason (503, a broken connection, no answer) is tried again after a growing
//!   pause. When the answer to a conditional create is lost, the next try finds an object there and reads it: equal
//!   or not, that is the manifest.
//! * A payload that is damaged, forged, made for another run, round or base is refused whole, with its reason in the
//!   manifest. When a manifest names a payload that fails its checks here, nothing of the round is given out.
//!
//! Who can write to the store can stop the run: by a manifest that leaves peers out, or by deleting objects. With
//! [`keys`](SyncOptions::keys) nobody can speak for another peer.
//!
//! # Example
//!
//! ```
//! use gristmill_comm::rounds::{RoundSync, SyncOptions};
//! use gristmill_comm::wire::{Address, Codec, DivideBy, Format, TensorEntry, params_hash, seal};
//! use gristmill_core::{Control, Result};
//!
//! # fn main() -> Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let url = dir.path().join("run-7");
//! # let url = url.to_str().unwrap();
//! let format = Format::new(Codec::Dense, DivideBy::Peers, vec![TensorEntry::of("w", &[2], 4096)?])?;
//! let base = params_hash(&format, [&[0f32, 0.0][..]])?;
//! let control = Control::default();
//!
//! let sync = ["a", "b"].map(|peer| RoundSync::open(url, SyncOptions::new(peer, 2)).unwrap());
//! for (i, sync) in sync.iter().enumerate() {
//!     let delta = [i as f32, 1.0].map(f32::to_le_bytes).concat();
//!     // Run and peer are written in by `publish`.
//!     let payload = seal(&format, &Address::open(base), [&delta[..]], None)?;
//!     sync.publish(0, &payload, &control)?;
//! }
//! let accepted = sync[1].gather(0, None, &control)?;
//! let peers: Vec<_> = accepted.payloads.iter().map(|p| p.peer.as_str()).collect();
//! assert_eq!(peers, ["a", "b"]);
//! # Ok(())
//! # }
//! ```

mod candidates;
mod gather;
mod manifest;
mod meter;
mod options;
mod outcome;
mod store;
mod sync;

pub use manifest::Refused;
pub use meter::Meter;
pub use options::SyncOptions;
pub use outcome::{Accepted, Contribution, Published, Standing};
pub use sync::RoundSync;

#[cfg(doc)]
use gristmill_core::Code;
