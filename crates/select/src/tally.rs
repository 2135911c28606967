use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use gristmill_core::{Code, Counts, Error, Result};

/// Why a document is not among those kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// The row filter said no.
    Filtered,
    /// It could not be read and is in the quarantine file.
    Quarantined,
    /// Its text is null.
    NullText,
    /// Its text has no token.
    EmptyText,
    /// Its score is not a number.
    NotANumber,
    /// Another document before it has its id.
    DuplicateId,
    /// Its score lies on the wrong side of the threshold that was asked for.
    BelowThreshold,
    /// Its group has no share of the budget.
    NoShare,
    /// The budget was spent on better documents.
    OverBudget,
}

impl Reason {
    /// Whether a document that is dropped for this reason has a score.
    pub fn has_score(self) -> bool {
        matches!(self, Self::DuplicateId | Self::BelowThreshold | Self::NoShare | Self::OverBudget)
    }
}

/// What becomes of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is selected.
    Kept,
    /// It is not, and why.
    Dropped(Reason),
}

/// How much was read and what became of it.
///
/// `read = scored + (dropped without a score)`, and `scored = kept + (dropped with a score)`. `read` and
/// `scored` are counted where documents are read and scored, the rest where they are kept or dropped, so
/// [`Tally::check`] compares independent accounts of the same documents. Tokens and bytes are those of text
/// that reached the scorer: a filtered, null or quarantined document counts as a document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Everything in the input.
    pub read: Counts,
    /// What has a score.
    pub scored: Counts,
    /// What was selected; absent where nothing is selected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Counts>,
    /// What was left out, by reason.
    pub dropped: BTreeMap<Reason, Counts>,
}

impl Tally {
    /// Counts documents that are kept.
    pub fn keep(&mut self, counts: Counts) {
        *self.kept.get_or_insert_default() += counts;
    }

    /// Counts documents that are left out.
    pub fn drop(&mut self, reason: Reason, counts: Counts) {
        if counts.documents > 0 {
            *self.dropped.entry(reason).or_default() += counts;
        }
    }

    /// Counts documents as a selection decided. Does not touch `read` and `scored`.
    pub fn settle(&mut self, verdict: Verdict, counts: Counts) {
        match verdict {
            Verdict::Kept => self.keep(counts),
            Verdict::Dropped(reason) => self.drop(reason, counts),
        }
    }

    /// Adds the tally of another part of the input.
    pub fn merge(&mut self, other: &Tally) {
        self.read += other.read;
        self.scored += other.scored;
        if let Some(kept) = other.kept {
            self.keep(kept);
        }
        for (&reason, &counts) in &other.dropped {
            self.drop(reason, counts);
        }
    }

    /// `Err` with [`Code::Internal`] unless the counts add up: a document that is lost is never silent.
    pub fn check(&self) -> Result<()> {
        let dropped = |with_score: bool| -> Counts {
            self.dropped.iter().filter(|(r, _)| r.has_score() == with_score).map(|(_, c)| *c).sum()
        };
        let unscored = self.scored + dropped(false);
        let unkept = self.kept.map(|kept| kept + dropped(true));
        if self.read != unscored || unkept.is_some_and(|sum| sum != self.scored) {
            return Err(Error::new(Code::Internal, format!("the counts do not add up: {self:?}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(documents: u64, tokens: u64, bytes: u64) -> Counts {
        Counts { documents, tokens, bytes }
    }

    fn tally() -> Tally {
        let mut t = Tally { read: counts(10, 60, 300), scored: counts(8, 60, 300), ..Tally::default() };
        t.settle(Verdict::Kept, counts(3, 40, 200));
        t.drop(Reason::NullText, counts(2, 0, 0));
        t.settle(Verdict::Dropped(Reason::OverBudget), counts(5, 20, 100));
        t.drop(Reason::DuplicateId, Counts::default());
        t
    }

    #[test]
    fn counts_that_add_up_pass_and_others_do_not() {
        let good = tally();
        good.check().unwrap();
        assert!(!good.dropped.contains_key(&Reason::DuplicateId), "an empty reason is not listed");
        let alter = |change: &dyn Fn(&mut Tally)| {
            let mut t = good.clone();
            change(&mut t);
            assert_eq!(t.check().unwrap_err().code(), Code::Internal);
        };
        alter(&|t| t.read.documents += 1);
        alter(&|t| t.read.tokens += 1);
        alter(&|t| t.keep(counts(1, 0, 0)));
        alter(&|t| t.drop(Reason::BelowThreshold, counts(1, 1, 1)));
        alter(&|t| t.drop(Reason::EmptyText, counts(1, 0, 0)));
        alter(&|t| t.kept = Some(t.scored));
    }

    #[test]
    fn without_a_selection_only_scoring_must_add_up() {
        let t = Tally { kept: None, dropped: [(Reason::NullText, counts(2, 0, 0))].into(), ..tally() };
        t.check().unwrap();
    }

    #[test]
    fn parts_merge_into_the_whole() {
        let mut whole = tally();
        whole.merge(&tally());
        whole.check().unwrap();
        assert_eq!(whole.read.documents, 20);
        assert_eq!(whole.kept.unwrap().tokens, 80);
        assert_eq!(whole.dropped[&Reason::OverBudget].documents, 10);
    }

    #[test]
    fn json_is_flat_and_in_camel_case() {
        let json = serde_json::to_value(tally()).unwrap();
        assert_eq!(json["dropped"]["nullText"]["documents"], 2);
        assert_eq!(json["kept"]["tokens"], 40);
        assert_eq!(serde_json::from_value::<Tally>(json).unwrap(), tally());
    }
}
