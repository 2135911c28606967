use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use gristmill_core::{Code, Counts, Error, Result};

/// Why a document is not in the selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The row filter left it out.
    Filtered,
    /// It could not be read and was set aside.
    Quarantined,
    /// An earlier document has the same id.
    Duplicate,
    /// Its text is null or empty: it has no tokens and no bytes.
    Empty,
    /// Its score is not a number.
    NotANumber,
    /// Its score lies on the wrong side of the threshold.
    Threshold,
    /// Its group has no share of the budget.
    NoShare,
    /// Better documents used up the budget.
    OverBudget,
}

impl Reason {
    /// Whether documents dropped for this reason have a score.
    pub fn has_score(self) -> bool {
        matches!(self, Self::Threshold | Self::NoShare | Self::OverBudget)
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

/// Where all documents went, in documents, tokens and bytes.
///
/// `read` and `scored` are counted where documents are read and scored, the rest where they are kept or
/// dropped; [`Tally::check`] then compares two independent accounts of the same documents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Tally {
    /// Came in.
    pub read: Counts,
    /// Has a score that is a number.
    pub scored: Counts,
    /// Is in the selection.
    pub kept: Counts,
    /// Is not, by reason.
    pub dropped: BTreeMap<Reason, Counts>,
}

impl Tally {
    /// Books a verdict. Does not touch `read` and `scored`.
    pub fn settle(&mut self, verdict: Verdict, counts: Counts) {
        match verdict {
            Verdict::Kept => self.kept += counts,
            Verdict::Dropped(reason) => *self.dropped.entry(reason).or_default() += counts,
        }
    }

    /// Adds the tally of other documents.
    pub fn merge(&mut self, other: &Self) {
        self.read += other.read;
        self.scored += other.scored;
        self.kept += other.kept;
        for (&reason, &counts) in &other.dropped {
            *self.dropped.entry(reason).or_default() += counts;
        }
    }

    /// [`Code::Internal`] unless everything read was kept or dropped, once, and everything scored was kept
    /// or dropped for a reason that supposes a score.
    pub fn check(&self) -> Result<()> {
        let dropped = |scored_only: bool| -> Counts {
            self.dropped.iter().filter(|(r, _)| !scored_only || r.has_score()).map(|(_, &c)| c).sum()
        };
        for (name, whole, parts) in [
            ("read", self.read, self.kept + dropped(false)),
            ("scored", self.scored, self.kept + dropped(true)),
        ] {
            if whole != parts {
                return Err(Error::new(
                    Code::Internal,
                    format!("the counts do not add up: {name} {whole:?}, but kept and dropped {parts:?}"),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_or_errs() {
        let mut tally = Tally {
            read: Counts { documents: 3, tokens: 30, bytes: 300 },
            scored: Counts { documents: 2, tokens: 20, bytes: 200 },
            ..Tally::default()
        };
        tally.settle(Verdict::Kept, Counts::one(15, 150));
        tally.settle(Verdict::Dropped(Reason::OverBudget), Counts::one(5, 50));
        assert_eq!(tally.check().unwrap_err().code(), Code::Internal);
        tally.settle(Verdict::Dropped(Reason::Quarantined), Counts::one(10, 100));
        tally.check().unwrap();

        let mut twice = tally.clone();
        twice.merge(&tally);
        twice.check().unwrap();
        assert_eq!(twice.dropped[&Reason::OverBudget], Counts { documents: 2, tokens: 10, bytes: 100 });

        // The same number of documents, but one token lost.
        tally.kept.tokens -= 1;
        assert!(tally.check().is_err());
    }

    #[test]
    fn a_document_without_score_cannot_be_kept() {
        let mut tally = Tally { read: Counts::one(1, 1), ..Tally::default() };
        tally.settle(Verdict::Kept, Counts::one(1, 1));
        assert!(tally.check().is_err());
    }

    #[test]
    fn json_is_stable() {
        let mut tally = Tally { read: Counts::one(1, 2), ..Tally::default() };
        tally.settle(Verdict::Dropped(Reason::NotANumber), Counts::one(1, 2));
        let json = serde_json::to_string(&tally).unwrap();
        assert!(
            json.contains(r#""dropped":{"not-a-number":{"documents":1,"tokens":1,"bytes":2}}"#),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<Tally>(&json).unwrap(), tally);
    }
}
