use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use gristmill_core::{Code, Counts, Error, Result};

use crate::Criteria;
use crate::histogram::{Bucket, Histogram};
use crate::item::{Item, Key, Prefix, SCORE_DIGITS, digit};
use crate::{Reason, Verdict};

/// What every accumulator of one pass looks for: the same for all shards and workers.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) criteria: Criteria,
    /// Passes before this one.
    pub(crate) passes: u32,
    /// Names criteria and everything found so far, so that states of different selections cannot mix.
    pub(crate) fingerprint: u64,
    /// By group, the digits that are settled; `None` for groups whose cut is known. Empty in the first
    /// pass, which takes groups as they come.
    pub(crate) prefixes: Vec<(Option<String>, Option<Prefix>)>,
}

impl Plan {
    /// What can be said of a document without knowing the others.
    #[inline]
    pub(crate) fn screen(criteria: &Criteria, item: &Item<'_>) -> Option<Verdict> {
        let reason = if item.counts.tokens == 0 && item.counts.bytes == 0 {
            Reason::EmptyText
        } else if item.score.is_nan() {
            Reason::NotANumber
        } else if criteria.beyond_threshold(item.score) {
            Reason::BelowThreshold
        } else {
            return None;
        };
        Some(Verdict::Dropped(reason))
    }
}

/// What one group has shown in a pass.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Seen {
    /// Everything of the group.
    pub(crate) read: Counts,
    /// Weight and number of the documents that can be selected.
    pub(crate) eligible: (u64, u64),
    /// Weight, least and greatest key of those that share the settled digits. While the score is searched,
    /// the rest of these keys is zero.
    pub(crate) within: u64,
    pub(crate) span: Option<(Key, Key)>,
    pub(crate) histogram: Histogram,
}

fn overflow() -> Error {
    Error::new(Code::InvalidValue, "the pool has more than 2^64 tokens, bytes or documents")
        .at_column("n_tokens")
        .hint("check the column that holds the counts")
}

fn sum(a: u64, b: u64) -> Result<u64> {
    a.checked_add(b).ok_or_else(overflow)
}

impl Seen {
    #[inline]
    fn read(&mut self, counts: Counts) -> Result<()> {
        self.read = Counts {
            documents: sum(self.read.documents, counts.documents)?,
            tokens: sum(self.read.tokens, counts.tokens)?,
            bytes: sum(self.read.bytes, counts.bytes)?,
        };
        Ok(())
    }

    #[inline]
    fn widen(&mut self, low: Key, high: Key) {
        match &mut self.span {
            None => self.span = Some((low, high)),
            Some((least, greatest)) => {
                if low < *least {
                    *least = low;
                }
                if high > *greatest {
                    *greatest = high;
                }
            }
        }
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        self.read(other.read)?;
        self.eligible = (sum(self.eligible.0, other.eligible.0)?, sum(self.eligible.1, other.eligible.1)?);
        self.within = sum(self.within, other.within)?;
        if let Some((low, high)) = other.span {
            self.widen(low, high);
        }
        self.histogram.merge(&other.histogram);
        Ok(())
    }
}

/// The accumulator of one pass over the pool. One for everything, or one for each shard, thread or worker;
/// [`Pass::merge`] in any order gives the same.
#[derive(Debug, Clone)]
pub struct Pass {
    plan: Arc<Plan>,
    /// In the order of first sight; the first pass of a selection without quotas has one, unnamed.
    groups: Vec<(Option<String>, Seen)>,
    named: HashMap<String, usize>,
    unnamed: Option<usize>,
    /// The group of the last document: neighbours are often alike.
    last: usize,
}

impl Pass {
    pub(crate) fn new(plan: Arc<Plan>) -> Self {
        let mut pass =
            Self { plan, groups: Vec::new(), named: HashMap::new(), unnamed: None, last: usize::MAX };
        for (name, _) in &pass.plan.clone().prefixes {
            pass.insert(name.as_deref());
        }
        pass
    }

    fn insert(&mut self, name: Option<&str>) -> usize {
        let at = self.groups.len();
        self.groups.push((name.map(str::to_owned), Seen::default()));
        match name {
            Some(name) => _ = self.named.insert(name.to_owned(), at),
            None => self.unnamed = Some(at),
        }
        at
    }

    fn find(&self, name: Option<&str>) -> Option<usize> {
        match name {
            Some(name) => self.named.get(name).copied(),
            None => self.unnamed,
        }
    }

    fn group(&mut self, name: Option<&str>) -> Result<usize> {
        if self.groups.get(self.last).is_some_and(|(last, _)| last.as_deref() == name) {
            return Ok(self.last);
        }
        self.last = match self.find(name) {
            Some(at) => at,
            None if self.plan.passes == 0 => self.insert(name),
            None => return Err(changed(&format!("group {name:?} was not there in the first pass"))),
        };
        Ok(self.last)
    }

    /// Adds one document of the pool. Every pass wants every document, in any order.
    pub fn add(&mut self, item: &Item<'_>) -> Result<()> {
        let name = self.plan.criteria.quotas.as_ref().and(item.group);
        let at = self.group(name)?;
        let Self { plan, groups, .. } = self;
        let criteria = &plan.criteria;
        let seen = &mut groups[at].1;
        seen.read(item.counts)?;
        if Plan::screen(criteria, item).is_some() {
            return Ok(());
        }
        let weight = criteria.budget.map_or(0, |b| b.measure.of(&item.counts));
        // Cannot overflow: the sum is at most what was read of the same measure.
        seen.eligible.0 += weight;
        seen.eligible.1 += 1;
        let prefix = match plan.prefixes.get(at) {
            None => Prefix::default(),
            Some((_, None)) => return Ok(()),
            Some((_, Some(prefix))) => *prefix,
        };
        let ranking = criteria.ranking();
        let key = if prefix.digits() < SCORE_DIGITS {
            [ranking.score_key(item), 0, 0, 0]
        } else {
            ranking.key(item)
        };
        if prefix.matches(&key) {
            seen.within += weight;
            seen.widen(key, key);
            seen.histogram.add(digit(&key, prefix.digits()), weight, true);
        }
        Ok(())
    }

    /// Adds what another accumulator of the same pass has seen.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.plan.fingerprint != other.plan.fingerprint {
            return Err(Error::new(Code::JobMismatch, "these passes belong to different selections"));
        }
        for (name, seen) in &other.groups {
            let at = self.group(name.as_deref())?;
            self.groups[at].1.merge(seen)?;
        }
        Ok(())
    }

    /// The accumulator in a form to store or send.
    pub fn to_state(&self) -> PassState {
        let mut groups: Vec<_> = self
            .groups
            .iter()
            .map(|(name, seen)| GroupState {
                name: name.clone(),
                read: seen.read,
                eligible: seen.eligible,
                within: seen.within,
                span: seen.span,
                buckets: seen.histogram.descending().collect(),
            })
            .collect();
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        PassState { fingerprint: self.plan.fingerprint, groups }
    }

    pub(crate) fn from_state(plan: Arc<Plan>, state: &PassState) -> Result<Self> {
        if plan.fingerprint != state.fingerprint {
            return Err(Error::new(Code::JobMismatch, "a saved selection pass belongs to another selection"));
        }
        let mut pass = Self::new(plan);
        for group in &state.groups {
            let at = pass.group(group.name.as_deref())?;
            let seen = Seen {
                read: group.read,
                eligible: group.eligible,
                within: group.within,
                span: group.span,
                histogram: Histogram::from_buckets(&group.buckets, group.within)?,
            };
            pass.groups[at].1.merge(&seen)?;
        }
        Ok(pass)
    }

    pub(crate) fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    pub(crate) fn into_groups(self) -> Vec<(Option<String>, Seen)> {
        let mut groups = self.groups;
        groups.sort_by(|a, b| a.0.cmp(&b.0));
        groups
    }
}

/// The error for a pool that is not the same in every pass.
pub(crate) fn changed(what: &str) -> Error {
    Error::new(Code::JobMismatch, format!("the pool changed between two passes of the selection: {what}"))
        .hint("every pass must see every document once, with the same score and counts")
}

/// A [`Pass`] as data, the same bytes for the same documents in whatever order: what workers leave for
/// each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PassState {
    fingerprint: u64,
    groups: Vec<GroupState>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct GroupState {
    name: Option<String>,
    read: Counts,
    eligible: (u64, u64),
    within: u64,
    span: Option<(Key, Key)>,
    buckets: Vec<Bucket>,
}
