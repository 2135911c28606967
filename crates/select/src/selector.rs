use std::sync::Arc;

use gristmill_core::hash::hash64;
use gristmill_core::{Code, Error, Result};

use crate::budget::fraction;
use crate::cut::{Cut, Edge, GroupCut};
use crate::item::{DIGITS, Prefix, SCORE_DIGITS, digit};
use crate::pass::{Plan, Seen, changed};
use crate::{Counts, Criteria, Crossing, Measure, Pass, PassState};

/// The search for the exact cut: hand out passes, feed them, take them back, until the cut is known.
///
/// The state between two passes is a few words per group. To resume a search in another process, make a
/// new selector of the same criteria and replay the saved [`PassState`]s.
#[derive(Debug)]
pub struct Selector {
    plan: Arc<Plan>,
    measure: Measure,
    groups: Vec<Group>,
}

#[derive(Debug, Clone)]
struct Group {
    name: Option<String>,
    read: Counts,
    eligible: (u64, u64),
    /// Its part of the budget, in whole units.
    line: u64,
    edge: Edge,
    /// Weight of what the edge keeps.
    kept: u64,
    search: Option<Search>,
}

/// The crossing document lies among those whose keys start with `prefix`.
#[derive(Debug, Clone)]
struct Search {
    prefix: Prefix,
    /// Weight of the documents with these digits.
    weight: u64,
    /// Weight of the documents that come before them.
    above: u64,
}

impl Selector {
    /// A search by these criteria.
    pub fn new(criteria: Criteria) -> Result<Self> {
        criteria.validate()?;
        let measure = criteria.budget.map_or(Measure::Documents, |b| b.measure);
        let fingerprint = fingerprint(&criteria, &[], 0);
        let plan = Plan { criteria, passes: 0, fingerprint, prefixes: Vec::new() };
        Ok(Self { plan: Arc::new(plan), measure, groups: Vec::new() })
    }

    /// Runs the whole search in this process; `feed` adds every document of the pool to the pass.
    ///
    /// ```
    /// use gristmill_core::Counts;
    /// use gristmill_select::{Criteria, Item, Selector, id_hash};
    ///
    /// let scores = [0.3, 0.9, f64::NAN, 0.5];
    /// let item = |row: usize| Item {
    ///     score: scores[row],
    ///     id_hash: id_hash(&row.to_string()),
    ///     shard: 0,
    ///     row: row as u64,
    ///     counts: Counts::one(10, 50),
    ///     group: None,
    /// };
    /// let criteria = Criteria { budget: Some("2docs".parse()?), ..Criteria::default() };
    /// let cut = Selector::run(criteria, |pass| (0..4).try_for_each(|row| pass.add(&item(row))))?;
    /// let kept: Vec<_> = (0..4).filter(|&row| cut.keeps(&item(row))).collect();
    /// assert_eq!(kept, [1, 3]);
    /// # Ok::<(), gristmill_core::Error>(())
    /// ```
    pub fn run(criteria: Criteria, mut feed: impl FnMut(&mut Pass) -> Result<()>) -> Result<Cut> {
        let mut selector = Self::new(criteria)?;
        while let Some(mut pass) = selector.next_pass() {
            feed(&mut pass)?;
            selector.advance(pass)?;
        }
        selector.finish()
    }

    /// An empty accumulator for the next pass, or `None` when the cut is known. Call it as often as there
    /// are threads or workers.
    pub fn next_pass(&self) -> Option<Pass> {
        self.searching().then(|| Pass::new(self.plan.clone()))
    }

    /// Passes made so far.
    pub fn passes(&self) -> u32 {
        self.plan.passes
    }

    fn searching(&self) -> bool {
        match self.plan.passes {
            0 => self.plan.criteria.budget.is_some(),
            _ => self.groups.iter().any(|g| g.search.is_some()),
        }
    }

    /// An accumulator as it was saved; [`Code::JobMismatch`] when it belongs to another selection, or to
    /// another pass of this one.
    pub fn restore(&self, state: &PassState) -> Result<Pass> {
        Pass::from_state(self.plan.clone(), state)
    }

    /// Takes back the accumulator that has seen the whole pool and narrows the search.
    pub fn advance(&mut self, pass: Pass) -> Result<()> {
        if pass.plan().fingerprint != self.plan.fingerprint {
            return Err(Error::new(Code::JobMismatch, "this pass belongs to another selection"));
        }
        let seen = pass.into_groups();
        if self.plan.passes == 0 {
            self.groups = self.open(&seen)?;
        }
        let crossing = self.plan.criteria.crossing;
        for (group, (name, seen)) in self.groups.iter_mut().zip(&seen) {
            group.narrow(seen, crossing).map_err(|e| match name {
                Some(name) => e.hint(format!("group {name:?}")),
                None => e,
            })?;
        }
        let passes = self.plan.passes + 1;
        self.plan = Arc::new(Plan {
            criteria: self.plan.criteria.clone(),
            passes,
            fingerprint: fingerprint(&self.plan.criteria, &self.groups, passes),
            prefixes: self
                .groups
                .iter()
                .map(|g| (g.name.clone(), g.search.as_ref().map(|s| s.prefix)))
                .collect(),
        });
        Ok(())
    }

    /// The cut, once no pass is left.
    pub fn finish(self) -> Result<Cut> {
        if self.searching() {
            return Err(Error::new(Code::Internal, "the selection needs another pass over the pool"));
        }
        let groups = self
            .groups
            .into_iter()
            .map(|g| GroupCut {
                name: g.name,
                read: g.read,
                eligible: g.eligible,
                line: g.line,
                kept: g.kept,
                edge: g.edge,
            })
            .collect();
        Ok(Cut::new(self.plan.criteria.clone(), self.measure, groups))
    }

    /// After the first pass the size of the pool is known: draws the line of every group.
    fn open(&self, seen: &[(Option<String>, Seen)]) -> Result<Vec<Group>> {
        let criteria = &self.plan.criteria;
        let budget = criteria.budget.expect("passes are made only for a budget");
        let include = criteria.crossing == Crossing::Include;
        let round = |(down, up): (u64, u64)| if include { up } else { down };
        let total = seen
            .iter()
            .try_fold(0u64, |sum, (_, s)| sum.checked_add(self.measure.of(&s.read)))
            .ok_or_else(|| Error::new(Code::InvalidValue, "the pool has more than 2^64 units"))?;
        let line = round(budget.line(total));
        let shares = match &criteria.quotas {
            None => None,
            Some(quotas) => quotas.weights()?,
        };
        let open = |(name, seen): &(Option<String>, Seen)| {
            let of_group = match (&criteria.quotas, &shares) {
                (None, _) => Some(line),
                (Some(_), None) if total == 0 => Some(line),
                (Some(_), None) => {
                    Some(round(fraction(line, self.measure.of(&seen.read), u128::from(total))))
                }
                (Some(_), Some((weights, sum))) => name
                    .as_ref()
                    .and_then(|n| weights.get(n.as_str()))
                    .filter(|&&w| w > 0)
                    .map(|&w| round(fraction(line, w, u128::from(*sum)))),
            };
            Group {
                name: name.clone(),
                read: seen.read,
                eligible: seen.eligible,
                line: of_group.unwrap_or(0),
                edge: if of_group.is_some() { Edge::Everything } else { Edge::NoShare },
                kept: 0,
                search: of_group.map(|_| Search {
                    prefix: Prefix::default(),
                    weight: seen.eligible.0,
                    above: 0,
                }),
            }
        };
        Ok(seen.iter().map(open).collect())
    }
}

impl Group {
    /// Finds the bucket in which the line is crossed.
    fn narrow(&mut self, seen: &Seen, crossing: Crossing) -> Result<()> {
        if self.read != seen.read || self.eligible != seen.eligible {
            return Err(changed(&format!("{:?} read now, {:?} before", seen.read, self.read)));
        }
        let Some(mut search) = self.search.take() else { return Ok(()) };
        if search.weight != seen.within {
            return Err(changed("other scores or ids"));
        }
        // The crossing document is the first whose running weight reaches `target`. Without it the whole
        // group is kept, as it is when it lies exactly on the line.
        let all = self.eligible.0;
        let target = match crossing {
            Crossing::Include => self.line,
            Crossing::Exclude => self.line.saturating_add(1),
        };
        if all <= self.line {
            (self.edge, self.kept) = (Edge::Everything, all);
            return Ok(());
        }
        if target == 0 {
            (self.edge, self.kept) = (Edge::Nothing, 0);
            return Ok(());
        }
        let mut above = search.above;
        let crossing_bucket = seen.histogram.descending().find(|b| {
            let reached = above + b.weight >= target;
            above += if reached { 0 } else { b.weight };
            reached
        });
        let (Some(bucket), Some((low, high))) = (crossing_bucket, seen.span) else {
            return Err(Error::new(Code::Internal, "the crossing document is not where it must be"));
        };
        let searched = search.prefix.digits();
        search.prefix.push(bucket.digit);
        if bucket.single {
            (self.edge, self.kept) = match crossing {
                Crossing::Include => (Edge::AtLeast(search.prefix.least()), above + bucket.weight),
                Crossing::Exclude => (Edge::Above(search.prefix.greatest()), above),
            };
            return Ok(());
        }
        // When all documents in question share further digits, as equal scores do, skip these; the keys are
        // known as far as this pass looked.
        let known = if searched < SCORE_DIGITS { SCORE_DIGITS } else { DIGITS };
        if digit(&low, searched) == digit(&high, searched) {
            while search.prefix.digits() < known {
                let at = search.prefix.digits();
                if digit(&low, at) != digit(&high, at) {
                    break;
                }
                search.prefix.push(digit(&low, at));
            }
        }
        if search.prefix.digits() == DIGITS {
            let row = !search.prefix.least()[3];
            return Err(Error::new(Code::InvalidValue, "one row of a shard came twice in a pass").at_row(row));
        }
        self.search = Some(Search { weight: bucket.weight, above, ..search });
        Ok(())
    }
}

/// Differs as soon as criteria, pool or progress do.
fn fingerprint(criteria: &Criteria, groups: &[Group], passes: u32) -> u64 {
    let mut text = serde_json::to_string(criteria).expect("criteria are plain data");
    for g in groups {
        let search = g.search.as_ref().map(|s| (s.prefix, s.weight, s.above));
        text += &format!("|{:?} {:?} {:?} {} {:?} {search:?}", g.name, g.read, g.eligible, g.line, g.edge);
    }
    hash64(u64::from(passes), text.as_bytes())
}
