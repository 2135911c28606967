//! A round gathered: found, checked, decided, collected.

use std::time::{Duration, Instant};

use bytes::Bytes;
use gristmill_core::{Code, Control, Error, Progress, Result, Unit};

use super::candidates::{Candidates, Rules};
use super::manifest::{Manifest, manifest_name, parse_payload_name, payload_name, round_dir, to_json};
use super::meter::Phase;
use super::outcome::{Accepted, Contribution, Standing};
use super::store::Found;
use super::sync::{Own, RoundSync};
use crate::wire::{self, Format, Hash, Reason, Refusal};

/// A payload to download.
struct Wanted {
    peer: String,
    hash: Hash,
    size: u64,
}

/// What came of it; `None` where it is not there.
type Verdict = Option<Result<Bytes, Refusal>>;

/// How often a payload is downloaded that a manifest names and that does not arrive whole.
const TRIES: usize = 3;

impl RoundSync {
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

    fn rules<'a>(&'a self, format: &'a Format, round: u64, base: Hash) -> Rules<'a> {
        Rules { format, run: &self.run, round, base, keys: &self.options.keys }
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
                (Ok(()), _) => wanted.push(Wanted { peer: peer.into(), hash, size: found.size }),
            }
        }
        let verdicts = self.download(rules, &wanted, control)?;
        for (Wanted { peer, hash, .. }, verdict) in wanted.iter().zip(verdicts) {
            // An object that is gone again was never there.
            if let Some(verdict) = verdict {
                candidates.add(peer, *hash, verdict);
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
    fn download(&self, rules: &Rules<'_>, wanted: &[Wanted], control: &Control) -> Result<Vec<Verdict>> {
        let meter = &self.store.meter;
        let mut verdicts: Vec<Verdict> = wanted.iter().map(|_| None).collect();
        let mut open: Vec<usize> = (0..wanted.len()).collect();
        for _ in 0..TRIES {
            let found = open.iter().map(|&i| {
                let Wanted { peer, hash, size } = &wanted[i];
                Found { name: payload_name(rules.round, peer, hash), size: *size }
            });
            let found: Vec<_> = found.collect();
            let got =
                meter.time(Phase::Fetch, || self.store.fetch(&found, self.options.parallel, control))?;
            for (&i, bytes) in open.iter().zip(got) {
                let Wanted { peer, hash, .. } = &wanted[i];
                verdicts[i] = bytes.map(|bytes| {
                    meter.time(Phase::Verify, || rules.verify(peer, *hash, &bytes)).map(|()| bytes)
                });
            }
            open.retain(|&i| match &verdicts[i] {
                None => true,
                Some(Err(refusal)) => refusal.reason == Reason::ObjectName,
                Some(Ok(_)) => false,
            });
            if open.is_empty() {
                break;
            }
        }
        let refused = verdicts.iter().filter(|verdict| matches!(verdict, Some(Err(_)))).count();
        meter.with(|m| m.refused += refused as u64);
        Ok(verdicts)
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
                missing.push(Wanted { peer: taken.peer.clone(), hash: taken.hash, size: taken.bytes });
            }
        }
        let mut fetched = self.download(&rules, &missing, control)?.into_iter();
        let mut payloads = Vec::with_capacity(manifest.accepted.len());
        for taken in &manifest.accepted {
            let name = || self.store.shown(&payload_name(manifest.round, &taken.peer, &taken.hash));
            let bytes = match candidates.get(&taken.peer, &taken.hash) {
                Some(bytes) => bytes.clone(),
                None => match fetched.next().flatten() {
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
