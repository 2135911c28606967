//! A peer's part in the rounds of a run.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use gristmill_core::{Code, Control, Error, Progress, Result, Unit};
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;

use super::candidates::{Candidates, Rules};
use super::manifest::{
    Manifest, Refused, RunRecord, manifest_name, parse, parse_payload_name, payload_name, round_dir, to_json,
};
use super::meter::{Meter, Phase};
use super::options::SyncOptions;
use super::store::{Found, Store};
use crate::wire::{self, Address, Expect, Format, Hash, Payload, Reason, Refusal};

const RUN_FILE: &str = "run.json";
/// How often a payload is downloaded that a manifest names and that does not arrive whole.
const TRIES: usize = 3;

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

/// A peer of a run. It may be used by several threads; see the [module](super).
pub struct RoundSync {
    store: Store,
    options: SyncOptions,
    run: String,
    key: Option<SigningKey>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    format: Option<Arc<Format>>,
    /// Whether the run in the store was found to be this one.
    entered: bool,
    own: Option<Own>,
}

#[derive(Clone)]
struct Own {
    round: u64,
    base: Hash,
    hash: Hash,
    bytes: Bytes,
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn own(&self, round: u64) -> Option<Own> {
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
            let there = self.own_hashes(round, control)?;
            let mut published = Published { hash, fresh: false, late: false };
            if !there.contains(&hash) {
                if !there.is_empty() {
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

    fn own_hashes(&self, round: u64, control: &Control) -> Result<Vec<Hash>> {
        let found = self.store.list(&round_dir(round), control)?;
        let names = found.iter().filter_map(|f| parse_payload_name(&f.name));
        Ok(names.filter(|(peer, _)| *peer == self.peer()).map(|(_, hash)| hash).collect())
    }

    /// What this peer published in a round, such as before it was killed; `None` where that is nothing.
    pub fn published(&self, round: u64, control: &Control) -> Result<Option<Bytes>> {
        if let Some(own) = self.own(round) {
            return Ok(Some(own.bytes));
        }
        let name = |hash: &Hash| payload_name(round, self.peer(), hash);
        let found = self.store.list(&round_dir(round), control)?;
        let mine = found.into_iter().find_map(|f| {
            let (peer, hash) = parse_payload_name(&f.name)?;
            (peer == self.peer()).then(|| (hash, Found { name: name(&hash), size: f.size }))
        });
        let Some((hash, found)) = mine else { return Ok(None) };
        let Some(bytes) = self.store.fetch(&[found], 1, control)?.pop().flatten() else { return Ok(None) };
        if Hash::of(&bytes) != hash {
            return Err(Error::new(Code::CorruptData, "what this peer published is damaged")
                .at_path(self.store.shown(&name(&hash))));
        }
        let base = wire::Header::of_payload(&bytes)?.address.base;
        self.state().own = Some(Own { round, base, hash, bytes: bytes.clone() });
        Ok(Some(bytes))
    }

    /// Waits until a round is decided, or decides it, and gives what every peer applies.
    ///
    /// `base` is the hash of the parameters that the round began with. Left out, it is that of what this peer
    /// published in the round; where that is nothing either, others must decide the round.
    ///
    /// # Errors
    /// [`Code::TimedOut`] when too few peers came in time; [`Code::JobMismatch`] when the others began with other
    /// parameters, or the round before is not decided; [`Code::CorruptData`] when the manifest or a payload that it
    /// names is damaged; [`Code::Aborted`] on request. The same call may be made again.
    pub fn gather(&self, round: u64, base: Option<Hash>, control: &Control) -> Result<Accepted> {
        let own = self.own(round);
        let base = base.or(own.as_ref().map(|own| own.base));
        let format = self.state().format.clone();
        let mut candidates = Candidates::default();
        let started = Instant::now();
        let mut pause = self.options.poll / 16;
        let mut linked = false;
        loop {
            if let Some(manifest) = self.manifest(round, control)? {
                return self.collect(&manifest, base, &mut candidates, control);
            }
            if let (Some(base), Some(format)) = (base, &format) {
                if !linked {
                    self.check_linked(round, control)?;
                    self.enter(|| Ok(Format::clone(format)), control)?;
                    linked = true;
                }
                let rules = self.rules(format, round, base);
                self.look(&rules, own.as_ref(), &mut candidates, control)?;
                if self.decides(&candidates, started.elapsed()) {
                    self.commit(&rules, &candidates, control)?;
                    continue;
                }
            }
            if started.elapsed() >= self.options.timeout {
                return Err(self.too_few(round, &candidates));
            }
            let left = self.options.timeout.saturating_sub(started.elapsed());
            let meter = self.store.meter.clone();
            meter.time(Phase::Wait, || self.store.sleep(control, pause.min(left)))?;
            pause = (pause * 2).clamp(Duration::from_millis(1), self.options.poll);
        }
    }

    /// A round that is decided; `None` where it is not yet.
    ///
    /// # Errors
    /// As [`gather`](Self::gather).
    pub fn replay(&self, round: u64, base: Option<Hash>, control: &Control) -> Result<Option<Accepted>> {
        let Some(manifest) = self.manifest(round, control)? else { return Ok(None) };
        self.collect(&manifest, base, &mut Candidates::default(), control).map(Some)
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

    fn rules<'a>(&'a self, format: &'a Format, round: u64, base: Hash) -> Rules<'a> {
        Rules { format, run: &self.run, round, base, keys: &self.options.keys }
    }

    /// Finds the format, and that the run in the store is this one; creates its record where there is none.
    fn enter(&self, format: impl FnOnce() -> Result<Format>, control: &Control) -> Result<Arc<Format>> {
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

    /// A round may be decided only after the one before it, so that replays find all of them.
    fn check_linked(&self, round: u64, control: &Control) -> Result<()> {
        if round == 0 || self.store.exists(&manifest_name(round - 1), control)? {
            return Ok(());
        }
        Err(Error::new(Code::JobMismatch, format!("round {} is not decided yet", round - 1))
            .at_path(self.store.shown(&round_dir(round)))
            .hint("rounds are numbered from 0, and come one after the other"))
    }

    fn manifest(&self, round: u64, control: &Control) -> Result<Option<Manifest>> {
        let name = manifest_name(round);
        let text = self.store.meter.clone().time(Phase::List, || self.store.read(&name, control))?;
        let Some(text) = text else { return Ok(None) };
        let shown = self.store.shown(&name);
        let manifest = Manifest::parse(&text, &shown)?;
        if manifest.run != self.run || manifest.round != round {
            return Err(
                Error::new(Code::JobMismatch, "the manifest is of another run or round").at_path(shown)
            );
        }
        Ok(Some(manifest))
    }

    /// Downloads and checks what is new in a round.
    fn look(
        &self,
        rules: &Rules<'_>,
        own: Option<&Own>,
        candidates: &mut Candidates,
        control: &Control,
    ) -> Result<()> {
        let meter = &self.store.meter;
        let listed = meter.time(Phase::List, || self.store.list(&round_dir(rules.round), control))?;
        let mut wanted = Vec::new();
        for found in &listed {
            let Some((peer, hash)) = parse_payload_name(&found.name) else { continue };
            if candidates.knows(peer, &hash) || !candidates.has_room(peer) {
                continue;
            }
            match (rules.admit(peer, found.size), own) {
                (Err(refusal), _) => candidates.add(peer, hash, Err(refusal)),
                // What this peer published itself is checked, and needs no download.
                (Ok(()), Some(own)) if peer == self.peer() && hash == own.hash => {
                    let verdict = rules.verify(peer, hash, &own.bytes).map(|()| own.bytes.clone());
                    candidates.add(peer, hash, verdict);
                }
                (Ok(()), _) => wanted.push((peer.to_string(), hash, found.size)),
            }
        }
        for (peer, hash, verdict) in self.download(rules, &wanted, control)? {
            // An object that is gone again was never there.
            if let Some(verdict) = verdict {
                candidates.add(&peer, hash, verdict);
            }
        }
        let peers = candidates.valid().count() as u64;
        control.report(&Progress {
            phase: "gather",
            done: peers,
            total: Some((self.options.peers as u64).max(peers)),
            unit: Unit::Shards,
            documents: 0,
            tokens: 0,
        });
        Ok(())
    }

    /// Downloads payloads and checks them; what does not arrive whole is downloaded again before it is refused.
    #[allow(clippy::type_complexity, reason = "one use, three lines below its meaning")]
    fn download(
        &self,
        rules: &Rules<'_>,
        wanted: &[(String, Hash, u64)],
        control: &Control,
    ) -> Result<Vec<(String, Hash, Option<Result<Bytes, Refusal>>)>> {
        let meter = &self.store.meter;
        let mut out: Vec<_> = wanted.iter().map(|(peer, hash, _)| (peer.clone(), *hash, None)).collect();
        let mut open: Vec<usize> = (0..wanted.len()).collect();
        for _ in 0..TRIES {
            let names = open.iter().map(|&i| {
                let (peer, hash, size) = &wanted[i];
                Found { name: payload_name(rules.round, peer, hash), size: *size }
            });
            let names: Vec<_> = names.collect();
            let got =
                meter.time(Phase::Fetch, || self.store.fetch(&names, self.options.parallel, control))?;
            for (&i, bytes) in open.iter().zip(got) {
                let (peer, hash, verdict) = &mut out[i];
                *verdict = bytes.map(|bytes| {
                    meter.time(Phase::Verify, || rules.verify(peer, *hash, &bytes)).map(|()| bytes)
                });
            }
            open.retain(|&i| match &out[i].2 {
                None => true,
                Some(Err(refusal)) => refusal.reason == Reason::ObjectName,
                Some(Ok(_)) => false,
            });
            if open.is_empty() {
                break;
            }
        }
        let refused = out.iter().filter(|(_, _, verdict)| matches!(verdict, Some(Err(_)))).count();
        meter.with(|m| m.refused += refused as u64);
        Ok(out)
    }

    fn decides(&self, candidates: &Candidates, waited: Duration) -> bool {
        let there = candidates.valid().count();
        let overdue = self.options.deadline.is_some_and(|deadline| waited >= deadline);
        there >= self.options.peers || (overdue && there >= self.options.quorum())
    }

    /// Creates the manifest, unless there is one by now.
    fn commit(&self, rules: &Rules<'_>, candidates: &Candidates, control: &Control) -> Result<()> {
        let mut manifest = Manifest::new(&self.run, rules.round, rules.format.hash(), rules.base);
        (manifest.accepted, manifest.refused) = candidates.choose(self.options.max_peers());
        let text = to_json(&manifest)?;
        let name = manifest_name(rules.round);
        self.store.meter.time(Phase::Commit, || self.store.create(&name, &text, control))?;
        Ok(())
    }

    fn too_few(&self, round: u64, candidates: &Candidates) -> Error {
        let there: Vec<_> = candidates.valid().collect();
        let (_, refused) = candidates.choose(self.options.max_peers());
        let refused: Vec<_> = refused.iter().map(|r| format!("{} ({})", r.peer, r.reason)).collect();
        let mut text = format!(
            "round {round} has {} of {} peers after {:.0?}: [{}]",
            there.len(),
            self.options.peers,
            self.options.timeout,
            there.join(", ")
        );
        if !refused.is_empty() {
            text += &format!("; refused: {}", refused.join(", "));
        }
        Error::new(Code::TimedOut, text)
            .at_path(self.store.shown(&round_dir(round)))
            .hint("give a quorum and a deadline to go on without the others")
    }

    /// Gets every payload that a manifest names, whole and checked, or fails.
    fn collect(
        &self,
        manifest: &Manifest,
        base: Option<Hash>,
        candidates: &mut Candidates,
        control: &Control,
    ) -> Result<Accepted> {
        let shown = self.store.shown(&manifest_name(manifest.round));
        if base.is_some_and(|base| base != manifest.base) {
            return Err(Error::new(
                Code::JobMismatch,
                format!(
                    "round {} began with other parameters ({}) than are here",
                    manifest.round, manifest.base
                ),
            )
            .at_path(shown)
            .hint("this replica is astray: go back to a checkpoint, and catch up from there"));
        }
        let format = self.enter(|| self.format_in(manifest, control), control)?;
        if format.hash() != manifest.format {
            return Err(Error::new(Code::JobMismatch, "the manifest is of another format").at_path(shown));
        }
        let rules = self.rules(&format, manifest.round, manifest.base);
        if let Some(own) = self.own(manifest.round) {
            let verdict = rules.verify(self.peer(), own.hash, &own.bytes).map(|()| own.bytes);
            candidates.add(self.peer(), own.hash, verdict);
        }
        let mut missing = Vec::new();
        for taken in &manifest.accepted {
            rules.admit(&taken.peer, taken.bytes).map_err(|refusal| Error::from(refusal).at_path(&shown))?;
            if candidates.get(&taken.peer, &taken.hash).is_none() {
                missing.push((taken.peer.clone(), taken.hash, taken.bytes));
            }
        }
        let mut fetched = self.download(&rules, &missing, control)?.into_iter();
        let mut payloads = Vec::with_capacity(manifest.accepted.len());
        for taken in &manifest.accepted {
            let name = || self.store.shown(&payload_name(manifest.round, &taken.peer, &taken.hash));
            let bytes = match candidates.get(&taken.peer, &taken.hash) {
                Some(bytes) => bytes.clone(),
                None => match fetched.next().and_then(|(_, _, verdict)| verdict) {
                    Some(Ok(bytes)) => bytes,
                    Some(Err(refusal)) => return Err(Error::from(refusal).at_path(name())),
                    None => {
                        return Err(Error::new(
                            Code::NotFound,
                            "the manifest names a payload that is not there in this size",
                        )
                        .at_path(name()));
                    }
                },
            };
            payloads.push(Contribution { peer: taken.peer.clone(), hash: taken.hash, bytes });
        }
        self.store.meter.with(|m| m.rounds += 1);
        let own = self.standing(manifest);
        Ok(Accepted {
            round: manifest.round,
            base: manifest.base,
            payloads,
            refused: manifest.refused.clone(),
            own,
        })
    }

    fn standing(&self, manifest: &Manifest) -> Standing {
        let taken = manifest.accepted.iter().find(|t| t.peer == self.peer());
        match (taken, self.own(manifest.round)) {
            (None, None) => Standing::Absent,
            (Some(taken), own) if own.as_ref().is_none_or(|own| own.hash == taken.hash) => Standing::Taken,
            _ => Standing::LeftOut,
        }
    }

    /// The format of a run that this peer joins knowing nothing: that of the first payload. [`enter`](Self::enter)
    /// compares it with the run's.
    fn format_in(&self, manifest: &Manifest, control: &Control) -> Result<Format> {
        let first = &manifest.accepted[0];
        let name = payload_name(manifest.round, &first.peer, &first.hash);
        let found = Found { name: name.clone(), size: first.bytes };
        let bytes = self.store.fetch(&[found], 1, control)?.pop().flatten().ok_or_else(|| {
            Error::new(Code::NotFound, "the manifest names a payload that is not there in this size")
                .at_path(self.store.shown(&name))
        })?;
        wire::format_of(&bytes).map_err(|refusal| Error::from(refusal).at_path(self.store.shown(&name)))
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
