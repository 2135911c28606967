//! A sample of a corpus that depends on nothing but the corpus and a seed.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use gristmill_core::Result;
use gristmill_core::hash::hash64;

/// A document of the sample, or what is kept of it. Ordered by its hash first: ascending hashes are a random order.
#[derive(Debug, Clone)]
pub(crate) struct Drawn<T = String> {
    hash: u64,
    pub(crate) shard: u32,
    pub(crate) row: u64,
    /// Bytes of the text.
    pub(crate) bytes: u64,
    pub(crate) text: T,
}

impl<T> Drawn<T> {
    fn key(&self) -> (u64, u32, u64) {
        (self.hash, self.shard, self.row)
    }
}

impl<T> PartialEq for Drawn<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Drawn<T> {}

impl<T> PartialOrd for Drawn<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Drawn<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// The documents with the lowest hashes of (seed, shard, row), until their text reaches a number of bytes.
///
/// A document is in the sample exactly when the texts with lower hashes have fewer bytes than the limit. That
/// holds whatever the order in which documents are offered, and [`merge`](Self::merge) keeps it, so samples
/// can be drawn by threads or machines apart and put together.
#[derive(Debug)]
pub(crate) struct Sample<T = String> {
    seed: u64,
    limit: u64,
    /// Greater hashes are known not to be in it.
    highest: u64,
    bytes: u64,
    /// The greatest hash on top: the first to go.
    heap: BinaryHeap<Drawn<T>>,
}

impl<T> Sample<T> {
    pub(crate) fn new(seed: u64, limit: u64) -> Self {
        Self::of_part(seed, limit, u64::MAX)
    }

    /// The sample of a part, to be merged into a whole of which it is known that greater hashes than `highest` are
    /// not in it.
    pub(crate) fn of_part(seed: u64, limit: u64, highest: u64) -> Self {
        Self { seed, limit, highest, bytes: 0, heap: BinaryHeap::new() }
    }

    /// The greatest hash that can still come in.
    pub(crate) fn highest(&self) -> u64 {
        match self.heap.peek() {
            Some(top) if self.bytes >= self.limit => self.highest.min(top.hash),
            _ => self.highest,
        }
    }

    /// Offers a document. What is kept of it is made only when it is drawn.
    pub(crate) fn offer(
        &mut self,
        shard: u32,
        row: u64,
        text: &str,
        keep: impl FnOnce(&str) -> Result<T>,
    ) -> Result<()> {
        let mut place = [0u8; 12];
        place[..4].copy_from_slice(&shard.to_le_bytes());
        place[4..].copy_from_slice(&row.to_le_bytes());
        let hash = hash64(self.seed, &place);
        let full = self.bytes >= self.limit;
        if hash > self.highest || full && self.heap.peek().is_some_and(|top| (hash, shard, row) > top.key()) {
            return Ok(());
        }
        self.insert(Drawn { hash, shard, row, bytes: text.len() as u64, text: keep(text)? });
        Ok(())
    }

    fn insert(&mut self, drawn: Drawn<T>) {
        self.bytes += drawn.bytes;
        self.heap.push(drawn);
        while let Some(top) = self.heap.peek() {
            let without = self.bytes - top.bytes;
            if without < self.limit {
                break;
            }
            self.bytes = without;
            self.heap.pop();
        }
    }

    /// Adds the sample of another part of the corpus, drawn with the same seed and limit.
    pub(crate) fn merge(&mut self, other: Self) {
        debug_assert_eq!((self.seed, self.limit), (other.seed, other.limit));
        for drawn in other.heap {
            self.insert(drawn);
        }
    }

    /// The documents in the order of their hashes.
    pub(crate) fn into_documents(self) -> Vec<Drawn<T>> {
        self.heap.into_sorted_vec()
    }
}

impl Sample {
    /// Offers a document, whose text is copied when it is drawn.
    pub(crate) fn offer_text(&mut self, shard: u32, row: u64, text: &str) {
        // A copy cannot fail.
        let _ = self.offer(shard, row, text, |text| Ok(text.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents() -> Vec<(u32, u64, String)> {
        (0..1000u64)
            .map(|n| ((n % 7) as u32, n / 7, "x".repeat((hash64(9, &n.to_le_bytes()) % 100) as usize)))
            .collect()
    }

    fn draw(seed: u64, limit: u64, documents: &[(u32, u64, String)]) -> Sample {
        let mut sample = Sample::new(seed, limit);
        documents.iter().for_each(|(shard, row, text)| sample.offer_text(*shard, *row, text));
        sample
    }

    /// The definition, by sorting everything.
    fn by_sorting(seed: u64, limit: u64, documents: &[(u32, u64, String)]) -> Vec<Drawn> {
        let mut all = draw(seed, u64::MAX, documents).into_documents();
        assert_eq!(all.len(), documents.len());
        let mut before = 0;
        all.retain(|d| {
            let keep = before < limit;
            before += d.text.len() as u64;
            keep
        });
        all
    }

    #[test]
    fn is_what_sorting_by_hash_gives_in_any_order_and_in_parts() {
        let mut documents = documents();
        for limit in [0, 1, 500, 5_000, 1_000_000] {
            let expected = by_sorting(3, limit, &documents);
            assert_eq!(draw(3, limit, &documents).into_documents(), expected);
            documents.reverse();
            assert_eq!(draw(3, limit, &documents).into_documents(), expected, "reversed");
            let (left, right) = documents.split_at(333);
            let mut merged = draw(3, limit, left);
            let mut rest = Sample::of_part(3, limit, merged.highest());
            right.iter().for_each(|(shard, row, text)| rest.offer_text(*shard, *row, text));
            merged.merge(rest);
            assert_eq!(merged.into_documents(), expected, "merged");
        }
    }

    #[test]
    fn holds_the_limit_and_follows_the_seed() {
        let documents = documents();
        let sample = draw(1, 5_000, &documents).into_documents();
        let bytes: usize = sample.iter().map(|d| d.text.len()).sum();
        assert!((5_000..5_100).contains(&bytes), "{bytes}");
        assert_ne!(sample, draw(2, 5_000, &documents).into_documents());
    }
}
