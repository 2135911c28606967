use std::collections::HashMap;

use gristmill_core::{Code, Error, Result};

/// Finds ids that occur more than once among more documents than memory holds, exactly.
///
/// A pass over all id hashes looks at a range of hash values and narrows it when it would hold more
/// hashes than memory allows; the next pass begins where this one ended. Each pass gives the hashes of its
/// range that came more than once. Different ids can share a hash (one pair is likely among five
/// thousand million), so the caller looks at the ids of these few: [`FirstPlaces`].
///
/// ```
/// use gristmill_select::{DuplicateFinder, FirstPlaces, id_hash};
///
/// let ids = ["a", "b", "a", "c", "b", "a"];
/// let mut finder = DuplicateFinder::new(1 << 20);
/// let mut duplicates = Vec::new();
/// while let Some(mut pass) = finder.next_pass() {
///     ids.iter().for_each(|id| pass.add(id_hash(id)));
///     let repeated = finder.advance(pass)?;
///     let mut places = FirstPlaces::default();
///     for (row, id) in ids.iter().enumerate().filter(|(_, id)| repeated.contains(id_hash(id))) {
///         places.add(id, 0, row as u64);
///     }
///     duplicates.extend((0..6).filter(|&row| places.is_later(ids[row], 0, row as u64)));
/// }
/// assert_eq!(duplicates, [2, 4, 5]);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
#[derive(Debug)]
pub struct DuplicateFinder {
    capacity: usize,
    next: Option<u64>,
}

impl DuplicateFinder {
    /// Hashes held at the least, whatever the limit.
    const LEAST: usize = 1024;

    /// A search in about `memory` bytes: a sixteenth of that many hashes are looked at in a pass.
    pub fn new(memory: usize) -> Self {
        Self { capacity: (memory / 16).max(Self::LEAST), next: Some(0) }
    }

    /// An empty accumulator for the next range, or `None` when all hashes were looked at.
    pub fn next_pass(&self) -> Option<DuplicatePass> {
        let from = self.next?;
        Some(DuplicatePass {
            from,
            to: u64::MAX,
            capacity: self.capacity,
            hashes: Vec::new(),
            repeated: Vec::new(),
        })
    }

    /// Takes back the accumulator that has seen all hashes; gives those of its range that came more than
    /// once.
    pub fn advance(&mut self, mut pass: DuplicatePass) -> Result<RepeatedHashes> {
        if self.next != Some(pass.from) {
            return Err(Error::new(Code::Internal, "this pass does not follow the last one"));
        }
        pass.compact();
        self.next = pass.to.checked_add(1);
        Ok(RepeatedHashes(pass.repeated))
    }
}

/// The accumulator of one pass: one for everything, or one for each thread, to be merged.
#[derive(Debug, Clone)]
pub struct DuplicatePass {
    from: u64,
    /// The last hash of the range.
    to: u64,
    capacity: usize,
    hashes: Vec<u64>,
    /// Ascending. Each of these is in `hashes`, too.
    repeated: Vec<u64>,
}

impl DuplicatePass {
    /// Adds the hash of one document's id.
    #[inline]
    pub fn add(&mut self, hash: u64) {
        if hash < self.from || hash > self.to {
            return;
        }
        self.hashes.push(hash);
        if self.hashes.len() >= self.capacity {
            self.make_room();
        }
    }

    /// Adds what another accumulator of the same pass has seen.
    pub fn merge(&mut self, mut other: Self) -> Result<()> {
        if self.from != other.from {
            return Err(Error::new(Code::Internal, "these passes look at different ranges"));
        }
        self.narrow(self.to.min(other.to));
        other.compact();
        self.compact();
        self.repeated.extend(other.repeated.iter().filter(|&&h| h <= self.to));
        for hash in other.hashes {
            self.add(hash);
        }
        self.compact();
        Ok(())
    }

    /// Every hash once, ascending, and those that were there more often noted.
    fn compact(&mut self) {
        self.hashes.sort_unstable();
        let before = self.repeated.len();
        let mut last_repeated = None;
        for pair in self.hashes.windows(2) {
            if pair[0] == pair[1] && last_repeated != Some(pair[0]) {
                self.repeated.push(pair[0]);
                last_repeated = Some(pair[0]);
            }
        }
        self.hashes.dedup();
        if self.repeated.len() > before || before > 0 {
            self.repeated.sort_unstable();
            self.repeated.dedup();
        }
    }

    fn narrow(&mut self, to: u64) {
        self.to = self.to.min(to);
        let last = self.to;
        self.hashes.retain(|&h| h <= last);
        self.repeated.retain(|&h| h <= last);
    }

    #[cold]
    fn make_room(&mut self) {
        self.compact();
        if self.hashes.len() > self.capacity / 2 {
            // The middle hash exceeds the first one, so the range keeps at least that.
            let middle = self.hashes[self.hashes.len() / 2];
            self.narrow(middle - 1);
        }
    }
}

/// Hashes that belong to more than one document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepeatedHashes(Vec<u64>);

impl RepeatedHashes {
    /// Whether this hash came more than once.
    #[inline]
    pub fn contains(&self, hash: u64) -> bool {
        self.0.binary_search(&hash).is_ok()
    }

    /// Whether every hash of the range came once.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The hashes, ascending.
    pub fn as_slice(&self) -> &[u64] {
        &self.0
    }
}

/// Tells the first document of an id, by shard and row, from later ones. Fill it with the documents whose
/// hashes repeat, in any order.
#[derive(Debug, Clone, Default)]
pub struct FirstPlaces(HashMap<Box<str>, (u32, u64)>);

impl FirstPlaces {
    /// Notes a document.
    pub fn add(&mut self, id: &str, shard: u32, row: u64) {
        match self.0.get_mut(id) {
            Some(first) => *first = (*first).min((shard, row)),
            None => _ = self.0.insert(id.into(), (shard, row)),
        }
    }

    /// Where this id comes first, if it was noted.
    pub fn first(&self, id: &str) -> Option<(u32, u64)> {
        self.0.get(id).copied()
    }

    /// Whether a document has the id of an earlier one.
    pub fn is_later(&self, id: &str, shard: u32, row: u64) -> bool {
        self.first(id).is_some_and(|first| first < (shard, row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gristmill_core::hash::hash64;

    fn search(hashes: &[u64], threads: usize) -> (Vec<u64>, usize) {
        let mut finder = DuplicateFinder::new(0);
        let (mut found, mut passes) = (Vec::new(), 0);
        while let Some(empty) = finder.next_pass() {
            passes += 1;
            let mut parts = vec![empty; threads];
            hashes.iter().enumerate().for_each(|(i, &h)| parts[i % threads].add(h));
            let mut pass = parts.pop().unwrap();
            parts.into_iter().for_each(|p| pass.merge(p).unwrap());
            assert!(pass.hashes.capacity() <= 4 * DuplicateFinder::LEAST, "memory is bounded");
            found.extend(finder.advance(pass).unwrap().0);
        }
        (found, passes)
    }

    #[test]
    fn finds_every_repeated_hash_in_bounded_memory() {
        let n = 50_000u64;
        let mut hashes: Vec<u64> = (0..n).map(|i| hash64(0, &i.to_le_bytes())).collect();
        hashes.extend((0..n).step_by(97).map(|i| hash64(0, &i.to_le_bytes())));
        hashes.extend([0, 0, 0, u64::MAX, u64::MAX, 1]);
        let mut expected: Vec<u64> = (0..n).step_by(97).map(|i| hash64(0, &i.to_le_bytes())).collect();
        expected.extend([0, u64::MAX]);
        expected.sort_unstable();
        for threads in [1, 3] {
            let (found, passes) = search(&hashes, threads);
            assert_eq!(found, expected);
            assert!(passes > 50, "{passes} passes for 50 times the capacity");
            hashes.reverse();
        }
    }

    #[test]
    fn one_hash_for_all_needs_one_pass() {
        assert_eq!(search(&vec![7; 100_000], 1), (vec![7], 1));
        assert_eq!(search(&[], 2), (vec![], 1));
    }

    #[test]
    fn many_copies_of_many_hashes() {
        let hashes: Vec<u64> = (0..30_000u64).map(|i| hash64(0, &(i % 3000).to_le_bytes())).collect();
        let (found, _) = search(&hashes, 2);
        assert_eq!(found.len(), 3000);
    }

    #[test]
    fn ids_that_share_a_hash_are_told_apart() {
        let mut places = FirstPlaces::default();
        for (id, shard, row) in [("x", 1, 0), ("y", 0, 5), ("x", 0, 9), ("x", 0, 3)] {
            places.add(id, shard, row);
        }
        assert_eq!(places.first("x"), Some((0, 3)));
        assert!(places.is_later("x", 1, 0) && places.is_later("x", 0, 9) && !places.is_later("x", 0, 3));
        assert!(!places.is_later("y", 0, 5) && !places.is_later("z", 9, 9));
    }
}
