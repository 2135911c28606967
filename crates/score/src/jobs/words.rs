//! Text to words, a batch at a time: the part of counting that threads do apart from each other.

use gristmill_core::Result;
use gristmill_data::DocBatch;
use gristmill_ngram::normalize::{Normalizer, Scratch};
use gristmill_ngram::vocab::{UNK, Vocab, WordId};

/// The first id that is not a special word.
const FIRST: WordId = 3;

/// The documents of a batch as words of a vocabulary that this batch has for itself.
///
/// Whoever puts batches together looks up each distinct word once, and not each occurrence; ids given in
/// the order of batches are then the same whatever thread made which batch.
pub(crate) struct LocalWords {
    vocab: Vocab,
    ids: Vec<WordId>,
    /// `ends[d]` is one past the last word of the document `d`.
    ends: Vec<usize>,
    /// How many documents of this batch have each word, from [`FIRST`] on.
    documents: Vec<u32>,
}

impl LocalWords {
    /// Splits the documents of a batch that have text.
    pub(crate) fn of_batch(batch: &DocBatch, normalizer: &Normalizer, scratch: &mut Scratch) -> Result<Self> {
        Self::of_texts((0..batch.len()).filter_map(|i| batch.text(i)), normalizer, scratch)
    }

    /// Splits texts.
    pub(crate) fn of_texts<'a>(
        texts: impl Iterator<Item = &'a str>,
        normalizer: &Normalizer,
        scratch: &mut Scratch,
    ) -> Result<Self> {
        let mut words =
            Self { vocab: Vocab::new(), ids: Vec::new(), ends: Vec::new(), documents: Vec::new() };
        let mut last_seen: Vec<u32> = Vec::new();
        for (document, text) in (1u32..).zip(texts) {
            let Self { vocab, ids, documents, .. } = &mut words;
            normalizer.for_each_token(text, scratch, |word| {
                let id = vocab.intern(word);
                ids.push(id);
                let Some(at) = id.checked_sub(FIRST).map(|at| at as usize) else { return };
                if at == documents.len() {
                    documents.push(0);
                    last_seen.push(0);
                }
                if last_seen[at] != document {
                    last_seen[at] = document;
                    documents[at] += 1;
                }
            })?;
            words.ends.push(words.ids.len());
        }
        Ok(words)
    }

    /// Interns every word, and adds its documents to `frequency`, which has one entry a word of `vocab`.
    pub(crate) fn count_documents(&self, vocab: &mut Vocab, frequency: &mut Vec<u32>) {
        for (word, &documents) in self.distinct().zip(&self.documents) {
            let id = vocab.intern(word) as usize;
            if id >= frequency.len() {
                frequency.resize(id + 1, 0);
            }
            frequency[id] = frequency[id].saturating_add(documents);
        }
    }

    /// Number of words.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// What each local id is elsewhere: `id` is asked once for each distinct word.
    pub(crate) fn ids_in(&self, id: impl FnMut(&str) -> WordId) -> Vec<WordId> {
        let mut ids = vec![UNK; FIRST as usize];
        ids.extend(self.distinct().map(id));
        ids
    }

    /// The documents that have text, one after the other, in the ids of [`ids_in`](Self::ids_in).
    pub(crate) fn sentences(
        &self,
        ids: &[WordId],
        mut sentence: impl FnMut(&[WordId]) -> Result<()>,
    ) -> Result<()> {
        let mut mapped = Vec::new();
        let mut start = 0;
        for &end in &self.ends {
            mapped.clear();
            mapped.extend(self.ids[start..end].iter().map(|&local| ids[local as usize]));
            sentence(&mapped)?;
            start = end;
        }
        Ok(())
    }

    fn distinct(&self) -> impl Iterator<Item = &str> {
        self.vocab.iter().skip(FIRST as usize)
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::StringArray;

    use super::*;

    fn batch(texts: &[Option<&str>]) -> DocBatch {
        DocBatch {
            shard: 0,
            rows: (0..texts.len() as u64).collect(),
            ids: StringArray::from_iter_values(texts.iter().enumerate().map(|(i, _)| i.to_string())),
            text: StringArray::from(texts.to_vec()),
            group: None,
            columns: None,
            quarantined: Vec::new(),
        }
    }

    #[test]
    fn ids_and_document_counts_are_those_of_one_pass_over_all_words() {
        let normalizer = Normalizer::named("whitespace/1").unwrap();
        let mut scratch = Scratch::default();
        let batches = [batch(&[Some("b a b"), None, Some("a <unk> c")]), batch(&[Some(""), Some("c d c b")])];
        let mut vocab = Vocab::new();
        let mut frequency = vec![0; vocab.len()];
        let mut sentences = Vec::new();
        for batch in &batches {
            let words = LocalWords::of_batch(batch, &normalizer, &mut scratch).unwrap();
            words.count_documents(&mut vocab, &mut frequency);
            let collect = |s: &[WordId]| {
                sentences.push(s.to_vec());
                Ok(())
            };
            let ids = words.ids_in(|w| vocab.intern(w));
            words.sentences(&ids, collect).unwrap();
        }
        assert_eq!(vocab.iter().skip(3).collect::<Vec<_>>(), ["b", "a", "c", "d"]);
        assert_eq!(frequency[3..], [2, 2, 2, 1]);
        assert_eq!(sentences, [vec![3, 4, 3], vec![4, UNK, 5], vec![], vec![5, 6, 5, 3]]);
    }
}
