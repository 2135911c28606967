use serde::Serialize;

use gristmill_core::{Code, Counts, Error, Result};

use crate::item::{Item, Key, Ranking};
use crate::pass::Plan;
use crate::{Criteria, Measure, Reason, Tally, Verdict};

/// Where the kept documents of a group end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Edge {
    Everything,
    Nothing,
    /// The group gets no part of the budget.
    NoShare,
    AtLeast(Key),
    Above(Key),
}

#[derive(Debug, Clone)]
pub(crate) struct GroupCut {
    pub(crate) name: Option<String>,
    pub(crate) read: Counts,
    pub(crate) eligible: (u64, u64),
    pub(crate) line: u64,
    pub(crate) kept: u64,
    pub(crate) edge: Edge,
}

/// How one group fared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupReport {
    /// Value of the group column; `None` for nulls, and for the whole pool when there are no quotas.
    pub group: Option<String>,
    /// All documents of the group.
    pub pool: Counts,
    /// Documents that have a score on the right side of the threshold.
    pub eligible_documents: u64,
    /// Their weight, in units of the budget.
    pub eligible: u64,
    /// The group's part of the budget.
    pub budget: u64,
    /// Weight of what is kept.
    pub kept: u64,
    /// What is missing because the group has no more.
    pub short: u64,
}

/// The result of a search: decides for each document, in any order, whether it is kept.
#[derive(Debug, Clone)]
pub struct Cut {
    criteria: Criteria,
    ranking: Ranking,
    measure: Measure,
    groups: Vec<GroupCut>,
}

impl Cut {
    pub(crate) fn new(criteria: Criteria, measure: Measure, groups: Vec<GroupCut>) -> Self {
        Self { ranking: criteria.ranking(), criteria, measure, groups }
    }

    /// Whether a document is kept, and if not, why.
    #[inline]
    pub fn verdict(&self, item: &Item<'_>) -> Verdict {
        if let Some(verdict) = Plan::screen(&self.criteria, item) {
            return verdict;
        }
        if self.criteria.budget.is_none() {
            return Verdict::Kept;
        }
        let kept = match self.edge(item) {
            Edge::Everything => true,
            Edge::Nothing => false,
            Edge::NoShare => return Verdict::Dropped(Reason::NoShare),
            Edge::AtLeast(key) => self.ranking.key(item) >= *key,
            Edge::Above(key) => self.ranking.key(item) > *key,
        };
        if kept { Verdict::Kept } else { Verdict::Dropped(Reason::OverBudget) }
    }

    /// Whether a document is kept.
    #[inline]
    pub fn keeps(&self, item: &Item<'_>) -> bool {
        self.verdict(item) == Verdict::Kept
    }

    fn edge(&self, item: &Item<'_>) -> &Edge {
        let name = self.criteria.quotas.as_ref().and(item.group);
        match self.groups.binary_search_by(|g| g.name.as_deref().cmp(&name)) {
            Ok(at) => &self.groups[at].edge,
            // A document that was not in the pool.
            Err(_) => &Edge::NoShare,
        }
    }

    /// How each group fared, by name; without quotas there is one group that has none. Empty when a
    /// threshold alone decides.
    pub fn groups(&self) -> Vec<GroupReport> {
        self.groups
            .iter()
            .map(|g| GroupReport {
                group: g.name.clone(),
                pool: g.read,
                eligible_documents: g.eligible.1,
                eligible: g.eligible.0,
                budget: g.line,
                kept: g.kept,
                short: g.line.saturating_sub(g.eligible.0),
            })
            .collect()
    }

    /// Holds what was written against what the search found: [`Code::Internal`] when the tally does not
    /// add up or keeps another weight than the cut does.
    pub fn check(&self, tally: &Tally) -> Result<()> {
        tally.check()?;
        let kept: u64 = self.groups.iter().map(|g| g.kept).sum();
        let written = self.measure.of(&tally.kept.unwrap_or_default());
        if self.criteria.budget.is_some() && written != kept {
            let unit = self.measure.as_str();
            return Err(Error::new(
                Code::Internal,
                format!("the selection found {kept} {unit} to keep, but {written} were kept"),
            ));
        }
        Ok(())
    }
}
