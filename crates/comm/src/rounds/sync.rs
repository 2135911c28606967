//! A peer's part in the rounds of a run.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use gristmill_core::{Code, Control, Error, Result};
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;

use super::manifest::{
    RunRecord, manifest_name, parse, parse_payload_name, payload_name, round_dir, to_json,
};
use super::meter::{Meter, Phase};
use super::options::SyncOptions;
use super::outcome::{Accepted, Published};
use super::store::{Found, Store};
use crate::wire::{self, Address, Expect, Format, Hash, Payload};

const RUN_FILE: &str = "run.json";

/// A peer of a run. It may be used by several threads; see the [module](super).
pub struct RoundSync {
    pub(super) store: Store,
    pub(super) options: SyncOptions,
    pub(super) run: String,
    key: Option<SigningKey>,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) format: Option<Arc<Format>>,
    /// Whether the run in the store was found to be this one.
    entered: bool,
    own: Option<Own>,
}

#[derive(Clone)]
pub(super) struct Own {
    pub(super) round: u64,
    pub(super) base: Hash,
    pub(super) hash: Hash,
    pub(super) bytes: Bytes,
}

impl RoundSync {
    /// Opens the rounds of a run at a directory or an object-store URL. Nothing is read or written yet, but a
    /// directory is created.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for an option out of its range, or a URL that leads nowhere.
    pub fn open(url: &str, options: SyncOptions) -> Result<Self> {
        options.check()?;
        let store = Store::open(url, &options)?;
        Self::new(store, options)
    }

    /// Opens the rounds of a run below a prefix of a store that the caller made.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn with_store(store: Arc<dyn ObjectStore>, prefix: &str, options: SyncOptions) -> Result<Self> {
        options.check()?;
        let shown = format!("{store}/{prefix}");
        let store = Store::with(store, ObjectPath::from(prefix), shown, None, &options)?;
        Self::new(store, options)
    }

    fn new(store: Store, options: SyncOptions) -> Result<Self> {
        let run = options.run.clone().or_else(|| store.base_name()).unwrap_or_default();
        wire::check_name("run", &run)?;
        let key = options.key.as_ref().map(SigningKey::from_bytes);
        let format = options.format.clone().map(Arc::new);
        let state = Mutex::new(State { format, ..State::default() });
        Ok(Self { store, options, run, key, state })
    }

    /// The run.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// This peer.
    pub fn peer(&self) -> &str {
        &self.options.peer
    }

    /// What the exchange has cost so far.
    pub fn meter(&self) -> Meter {
        self.store.meter.read()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn own(&self, round: u64) -> Option<Own> {
        self.state().own.clone().filter(|own| own.round == round)
    }

    /// Uploads this peer's payload of a round. An open [`Address`] is filled in, and the payload signed; one that is
    /// complete must be this peer's. Once more with the same content, that is success.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for a payload of another run, peer or round, or one that the others would refuse;
    /// [`Code::JobMismatch`] where the run in the store is another, or where this peer has published other content in
    /// the round, which [`published`](Self::published) then gives.
    pub fn publish(&self, round: u64, payload: &[u8], control: &Control) -> Result<Published> {
        let meter = self.store.meter.clone();
        meter.time(Phase::Publish, || {
            let own = self.address(round, payload)?;
            let format = self.enter(|| wire::format_of(&own.bytes).map_err(Error::from), control)?;
            let expect = Expect { key: self.options.keys.get(self.peer()), ..Expect::format(&format) };
            Payload::open(&own.bytes, &expect).map_err(|refusal| {
                Error::invalid_argument("payload", format!("the others would refuse it: {refusal}"))
            })?;
            let hash = own.hash;
            let mut published = Published { hash, fresh: false, late: false };
            let found = self.own_objects(round, control)?;
            if !found.iter().any(|(there, _)| *there == hash) {
                if !self.earlier(round, found, control)?.is_empty() {
                    return Err(Error::new(
                        Code::JobMismatch,
                        format!("peer {} has published another payload in round {round}", self.peer()),
                    )
                    .at_path(self.store.shown(&round_dir(round)))
                    .hint("take the one that was published, or give each process a peer name of its own"));
                }
                if self.store.exists(&manifest_name(round), control)? {
                    published.late = true;
                } else {
                    let name = payload_name(round, self.peer(), &hash);
                    self.store.upload(&name, &own.bytes, control)?;
                    published.fresh = true;
                }
            }
            self.state().own = Some(own);
            Ok(published)
        })
    }

    fn address(&self, round: u64, payload: &[u8]) -> Result<Own> {
        let found = wire::Header::of_payload(payload)?.address;
        let base = found.base;
        let address = Address { run: self.run.clone(), round, peer: self.peer().into(), base };
        let bytes = if found.is_open() {
            wire::address(payload, &address, self.key.as_ref())?
        } else if found == address {
            payload.to_vec()
        } else {
            return Err(Error::invalid_argument(
                "payload",
                format!("it is of run {:?}, peer {:?}, round {}", found.run, found.peer, found.round),
            ));
        };
        Ok(Own { round, base, hash: Hash::of(&bytes), bytes: bytes.into() })
    }

    /// The objects of a round that bear this peer's name.
    fn own_objects(&self, round: u64, control: &Control) -> Result<Vec<(Hash, Found)>> {
        let found = self.store.list(&round_dir(round), control)?;
        let mine = |f: Found| {
            let (peer, hash) = parse_payload_name(&f.name)?;
            let name = payload_name(round, peer, &hash);
            (peer == self.peer()).then_some((hash, Found { name, size: f.size }))
        };
        Ok(found.into_iter().filter_map(mine).collect())
    }

    /// Those of them that this peer made, as far as can be told: of a peer with a key others may have put there what
    /// bears its name alone, and that must not be in its way.
    fn earlier(&self, round: u64, found: Vec<(Hash, Found)>, control: &Control) -> Result<Vec<Own>> {
        let objects: Vec<Found> = found.iter().map(|(_, f)| f.clone()).collect();
        let got = self.store.fetch(&objects, 1, control)?;
        let own = |((hash, _), bytes): ((Hash, Found), Option<Bytes>)| {
            let bytes = bytes.filter(|bytes| Hash::of(bytes) == hash)?;
            let format = wire::format_of(&bytes).ok()?;
            let expect = Expect {
                run: Some(&self.run),
                round: Some(round),
                peer: Some(self.peer()),
                key: self.options.keys.get(self.peer()),
                ..Expect::format(&format)
            };
            let base = Payload::open(&bytes, &expect).ok()?.header().address.base;
            Some(Own { round, base, hash, bytes })
        };
        Ok(found.into_iter().zip(got).filter_map(own).collect())
    }

    /// What this peer published in a round, such as before it was killed; `None` where that is nothing.
    ///
    /// # Errors
    /// Those of the store.
    pub fn published(&self, round: u64, control: &Control) -> Result<Option<Bytes>> {
        if let Some(own) = self.own(round) {
            return Ok(Some(own.bytes));
        }
        let found = self.own_objects(round, control)?;
        let Some(own) = self.earlier(round, found, control)?.into_iter().next() else { return Ok(None) };
        let bytes = own.bytes.clone();
        self.state().own = Some(own);
        Ok(Some(bytes))
    }

    /// Replays all rounds that are decided, from one on, as a peer does that joins or comes back with a checkpoint.
    /// `apply` gets each in turn and gives the hash of the parameters after it, or `None` to have them taken on trust.
    /// Gives the first round that is not decided yet.
    ///
    /// # Errors
    /// As [`gather`](Self::gather), and those of `apply`.
    pub fn catch_up(
        &self,
        from: u64,
        base: Option<Hash>,
        control: &Control,
        mut apply: impl FnMut(Accepted) -> Result<Option<Hash>>,
    ) -> Result<u64> {
        let (mut round, mut base) = (from, base);
        while let Some(accepted) = self.replay(round, base, control)? {
            base = apply(accepted)?;
            round += 1;
        }
        Ok(round)
    }

    /// The first round that is not decided yet, found with few requests.
    pub fn next_round(&self, control: &Control) -> Result<u64> {
        let decided = |round| self.store.exists(&manifest_name(round), control);
        // Rounds are decided one after the other: all before `low` are, `high` is not.
        let (mut low, mut high) = (0, 1);
        while decided(high - 1)? {
            low = high;
            high *= 2;
        }
        high -= 1;
        while low < high {
            let middle = low + (high - low) / 2;
            if decided(middle)? {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Finds the format, and that the run in the store is this one; creates its record where there is none.
    pub(super) fn enter(
        &self,
        format: impl FnOnce() -> Result<Format>,
        control: &Control,
    ) -> Result<Arc<Format>> {
        let known = self.state().format.clone();
        let format = match known {
            Some(format) => format,
            None => Arc::new(format()?),
        };
        if !self.state().entered {
            let record = RunRecord::new(&self.run, format.hash());
            let mut there = self.run_record(control)?;
            if there.is_none() && !self.store.create(RUN_FILE, &to_json(&record)?, control)? {
                there = self.run_record(control)?;
            }
            if there.is_some_and(|there| there != record) {
                return Err(Error::new(
                    Code::JobMismatch,
                    "another run is there, or this one with other tensors or codec",
                )
                .at_path(self.store.shown(RUN_FILE))
                .hint("give every run a place of its own, and all its peers the same options"));
            }
        }
        let mut state = self.state();
        state.entered = true;
        state.format = Some(format.clone());
        Ok(format)
    }

    fn run_record(&self, control: &Control) -> Result<Option<RunRecord>> {
        let text = self.store.read(RUN_FILE, control)?;
        text.map(|text| parse(&text, &self.store.shown(RUN_FILE))).transpose()
    }
}

impl std::fmt::Debug for RoundSync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoundSync")
            .field("run", &self.run)
            .field("peer", &self.options.peer)
            .finish_non_exhaustive()
    }
}
