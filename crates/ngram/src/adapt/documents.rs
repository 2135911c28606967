//! Documents as word ids, one after the other.

use gristmill_core::{Code, Error, Result};

use crate::vocab::WordId;

/// Held-out sections of fewer words than this say little.
const SECTION: usize = 200;
/// Target text of fewer words than this cannot be held out in part and still be learnt from.
const FEWEST_TOKENS: usize = 500;

#[derive(Default, Clone)]
pub(super) struct Documents {
    ids: Vec<WordId>,
    ends: Vec<usize>,
}

impl Documents {
    /// Adds a word to the document that is not ended yet.
    pub(super) fn push(&mut self, id: WordId) {
        self.ids.push(id);
    }

    /// Ends a document, unless it has no words.
    pub(super) fn end(&mut self) {
        if self.ids.len() > self.ends.last().copied().unwrap_or(0) {
            self.ends.push(self.ids.len());
        }
    }

    pub(super) fn add(&mut self, words: &[WordId]) {
        self.ids.extend_from_slice(words);
        self.end();
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn tokens(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn get(&self, at: usize) -> &[WordId] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.ids[start..self.ends[at]]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[WordId]> {
        (0..self.len()).map(|at| self.get(at))
    }

    /// `id` becomes `ids[id]`.
    pub(super) fn rename(&mut self, ids: &[WordId]) {
        self.ids.iter_mut().for_each(|id| *id = ids[*id as usize]);
    }

    /// The documents that score below `threshold`, and how many do not.
    pub(super) fn split(&self, scores: &[f64], threshold: f64) -> (Self, usize) {
        let mut below = Self::default();
        for (words, _) in self.iter().zip(scores).filter(|(_, score)| **score < threshold) {
            below.add(words);
        }
        let dropped = self.len() - below.len();
        (below, dropped)
    }

    /// Evenly spread documents of about this many tokens in all.
    pub(super) fn thin(&self, tokens: usize) -> Self {
        let step = self.tokens().div_ceil(tokens.max(1)).max(1);
        let mut thin = Self::default();
        self.iter().step_by(step).for_each(|words| thin.add(words));
        thin
    }

    /// What to hold out by: the documents, or sections of them where there are too few.
    pub(super) fn sections(&self, folds: usize) -> Result<Self> {
        let mut sections = self.clone();
        if self.len() < 4 * folds {
            sections = Self::default();
            self.iter().flat_map(|words| words.chunks(SECTION)).for_each(|words| sections.add(words));
        }
        if self.tokens() < FEWEST_TOKENS || sections.len() < folds {
            let message = format!(
                "the target sample has {} words in {} documents; it takes at least {FEWEST_TOKENS} words, and \
                 {folds} documents or as many sections of {SECTION} words",
                self.tokens(),
                self.len(),
            );
            return Err(
                Error::new(Code::TargetTooSmall, message).hint("a hundred documents make a good sample")
            );
        }
        Ok(sections)
    }

    /// The documents of fold `fold`, and all others.
    pub(super) fn fold(&self, fold: usize, folds: usize) -> (Self, Self) {
        let (mut held_out, mut rest) = (Self::default(), Self::default());
        for (i, words) in self.iter().enumerate() {
            if i % folds == fold { held_out.add(words) } else { rest.add(words) }
        }
        (held_out, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(lengths: &[usize]) -> Documents {
        let mut documents = Documents::default();
        for (i, length) in lengths.iter().enumerate() {
            (0..*length).for_each(|_| documents.push(i as WordId));
            documents.end();
        }
        documents
    }

    #[test]
    fn folds_share_out_all_documents() {
        let all = documents(&[3, 0, 1, 2, 5, 4]);
        assert_eq!((all.len(), all.tokens()), (5, 15));
        let mut seen = 0;
        for fold in 0..3 {
            let (held_out, rest) = all.fold(fold, 3);
            assert_eq!(held_out.tokens() + rest.tokens(), 15);
            seen += held_out.tokens();
        }
        assert_eq!(seen, 15);
    }

    #[test]
    fn one_long_document_is_cut_into_sections() {
        let sections = documents(&[2050]).sections(5).unwrap();
        assert_eq!((sections.len(), sections.get(10).len()), (11, 50));
        assert_eq!(documents(&[100; 40]).sections(5).unwrap().len(), 40);
    }

    #[test]
    fn too_little_text_is_refused() {
        for few in [&[499][..], &[], &[600]] {
            assert_eq!(documents(few).sections(5).err().unwrap().code(), Code::TargetTooSmall);
        }
    }

    #[test]
    fn thinning_spreads_evenly_and_splitting_keeps_what_is_below() {
        let all = documents(&[10; 100]);
        let thin = all.thin(200);
        assert_eq!(thin.len(), 20);
        assert_eq!((thin.get(0)[0], thin.get(19)[0]), (0, 95));
        let scores: Vec<f64> = (0..100).map(f64::from).collect();
        let (below, dropped) = all.split(&scores, 90.0);
        assert_eq!((below.len(), dropped), (90, 10));
    }
}
