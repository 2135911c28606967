//! A block of text in memory, and its windows in order.

use gristmill_core::Result;
use rayon::prelude::*;

use super::window::{Key, MAX_ORDER, Window};
use crate::vocab::{EOS, WordId};

/// What a block costs a token at worst: 4 bytes of text, 4 of position, and while one bucket is sorted 16
/// of key and 4 of count.
pub(super) const BYTES_PER_TOKEN: usize = 28;

/// Positions that are gathered and sorted together: large enough to keep the threads busy, small enough
/// that two such waves (one being sorted, one being consumed) weigh little beside the block.
const WAVE: usize = 1 << 18;
/// Positions of one task within a wave.
const TASK: usize = 1 << 15;
/// A bucket above this is sorted by all threads.
const PARALLEL_SORT: usize = 1 << 17;

/// Consecutive text: sentences as `<s> w1 w2 … </s>`, one after another.
pub(super) struct Block {
    order: usize,
    tokens: Vec<WordId>,
}

impl Block {
    pub(super) fn new(order: usize) -> Self {
        Self { order, tokens: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn extend(&mut self, words: &[WordId]) {
        self.tokens.extend_from_slice(words);
    }

    /// Number of positions whose windows are known to be complete: all of them, or, while the text stops
    /// within a sentence, those with an order of words from there on.
    fn complete(&self) -> usize {
        match self.tokens.last() {
            None | Some(&EOS) => self.tokens.len(),
            Some(_) => self.tokens.len().saturating_sub(self.order - 1),
        }
    }

    /// Drops what was counted; keeps the words whose windows are still open.
    pub(super) fn retire(&mut self) {
        let complete = self.complete();
        self.tokens.drain(..complete);
    }

    /// Calls `sink` with every distinct complete window and its count, in ascending order.
    ///
    /// Positions are distributed by their first word, which leaves most buckets tiny; then the rest of each
    /// window is packed into one integer and sorted, wave by wave, while the wave before is consumed.
    pub(super) fn for_each_window(
        &self,
        vocab_len: usize,
        pool: &rayon::ThreadPool,
        sink: &mut (impl FnMut(&Window, u64) -> Result<()> + Send),
    ) -> Result<()> {
        let bits = usize::BITS - vocab_len.saturating_sub(1).leading_zeros();
        match bits as usize * (self.order - 1) {
            0..=64 => self.sort_as::<u64>(vocab_len, bits, pool, sink),
            65..=128 => self.sort_as::<u128>(vocab_len, bits, pool, sink),
            _ => self.sort_as::<[WordId; MAX_ORDER - 1]>(vocab_len, bits, pool, sink),
        }
    }

    fn sort_as<K: Key>(
        &self,
        vocab_len: usize,
        bits: u32,
        pool: &rayon::ThreadPool,
        sink: &mut (impl FnMut(&Window, u64) -> Result<()> + Send),
    ) -> Result<()> {
        let buckets = Buckets::new(&self.tokens[..self.complete()], vocab_len);
        let sort = |words: std::ops::Range<usize>| -> Vec<Sorted<K>> {
            let tasks: Vec<_> = buckets.split(words, TASK).collect();
            tasks.into_par_iter().map(|words| self.sort_buckets(&buckets, words, bits)).collect()
        };
        let mut waves = buckets.split(0..vocab_len, WAVE);
        pool.install(|| {
            let mut ready = waves.next().map(&sort);
            while let Some(pieces) = ready {
                let next = waves.next();
                let (sorted, done) = rayon::join(
                    || next.map(&sort),
                    || pieces.iter().try_for_each(|piece| piece.for_each(self.order, bits, sink)),
                );
                done?;
                ready = sorted;
            }
            Ok(())
        })
    }

    fn sort_buckets<K: Key>(&self, buckets: &Buckets, words: std::ops::Range<usize>, bits: u32) -> Sorted<K> {
        let mut out =
            Sorted { first: words.start as WordId, ends: Vec::new(), keys: Vec::new(), counts: Vec::new() };
        for word in words {
            let start = out.keys.len();
            let positions = buckets.of(word);
            out.keys.extend(positions.iter().map(|at| self.key::<K>(*at as usize, bits)));
            let bucket = &mut out.keys[start..];
            if bucket.len() > PARALLEL_SORT {
                bucket.par_sort_unstable();
            } else {
                bucket.sort_unstable();
            }
            let distinct = count_runs(bucket, &mut out.counts);
            out.keys.truncate(start + distinct);
            out.ends.push(out.keys.len() as u32);
        }
        out
    }

    /// The words after `at` in its window.
    #[inline]
    fn key<K: Key>(&self, at: usize, bits: u32) -> K {
        let mut key = K::EMPTY;
        let mut open = self.tokens[at] != EOS;
        for d in 1..self.order {
            let word = if open { self.tokens[at + d] } else { 0 };
            open &= word != EOS;
            key = key.push(word, bits);
        }
        key
    }
}

/// Moves the distinct keys of a sorted slice to its front and appends their counts; returns how many.
fn count_runs<K: Key>(keys: &mut [K], counts: &mut Vec<u32>) -> usize {
    let mut distinct = 0;
    let mut at = 0;
    while at < keys.len() {
        let key = keys[at];
        let run = keys[at..].iter().take_while(|k| **k == key).count();
        keys[distinct] = key;
        counts.push(run as u32);
        distinct += 1;
        at += run;
    }
    distinct
}

/// Positions by the word there.
struct Buckets {
    /// `ends[w]` is one past the positions of the word `w`.
    ends: Vec<u32>,
    positions: Vec<u32>,
}

impl Buckets {
    fn new(tokens: &[WordId], vocab_len: usize) -> Self {
        let mut ends = vec![0u32; vocab_len];
        for word in tokens {
            ends[*word as usize] += 1;
        }
        let mut start = 0;
        for end in &mut ends {
            start += std::mem::replace(end, start);
        }
        let mut positions = vec![0u32; tokens.len()];
        for (at, word) in tokens.iter().enumerate() {
            let end = &mut ends[*word as usize];
            positions[*end as usize] = at as u32;
            *end += 1;
        }
        Self { ends, positions }
    }

    fn start(&self, word: usize) -> usize {
        if word == 0 { 0 } else { self.ends[word - 1] as usize }
    }

    fn of(&self, word: usize) -> &[u32] {
        &self.positions[self.start(word)..self.ends[word] as usize]
    }

    /// Cuts a range of words into ranges of at least `positions` positions each (the last may have fewer).
    fn split(
        &self,
        words: std::ops::Range<usize>,
        positions: usize,
    ) -> impl Iterator<Item = std::ops::Range<usize>> {
        let mut from = words.start;
        std::iter::from_fn(move || {
            if from == words.end {
                return None;
            }
            let goal = self.start(from) + positions;
            let after = self.ends[from..words.end].partition_point(|end| (*end as usize) < goal);
            let to = (from + after + 1).min(words.end);
            Some(std::mem::replace(&mut from, to)..to)
        })
    }
}

/// The sorted windows of consecutive first words.
struct Sorted<K> {
    first: WordId,
    /// One past the last key of each first word.
    ends: Vec<u32>,
    keys: Vec<K>,
    counts: Vec<u32>,
}

impl<K: Key> Sorted<K> {
    fn for_each(
        &self,
        order: usize,
        bits: u32,
        sink: &mut impl FnMut(&Window, u64) -> Result<()>,
    ) -> Result<()> {
        let mut at = 0;
        let mut window = Window([0; MAX_ORDER]);
        for (word, end) in (self.first..).zip(&self.ends) {
            window.0[0] = word;
            for (key, count) in self.keys[at..*end as usize].iter().zip(&self.counts[at..]) {
                let mut key = *key;
                for slot in window.0[1..order].iter_mut().rev() {
                    (key, *slot) = key.pop(bits);
                }
                sink(&window, u64::from(*count))?;
            }
            at = *end as usize;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::vocab::BOS;

    /// Sentences of changing lengths, with many repetitions and some `<unk>`.
    fn text(sentences: u32) -> Vec<WordId> {
        let words =
            |s: u32| (0..s * 7 % 11).map(move |i| [0, 3, 4, 5, 6][((s * s + i * i * 3) % 5) as usize]);
        (0..sentences).flat_map(|s| std::iter::once(BOS).chain(words(s)).chain([EOS])).collect()
    }

    fn expected(text: &[WordId], order: usize) -> Vec<(Window, u64)> {
        let mut counts = BTreeMap::new();
        for at in 0..text.len() {
            let end = text[at..].iter().position(|w| *w == EOS).unwrap() + 1;
            let mut window = Window([0; MAX_ORDER]);
            let words = &text[at..at + end.min(order)];
            window.0[..words.len()].copy_from_slice(words);
            *counts.entry(window).or_default() += 1;
        }
        counts.into_iter().collect()
    }

    fn windows<K: Key>(block: &Block) -> Vec<(Window, u64)> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let mut all = Vec::new();
        let mut sink = |window: &Window, count| {
            all.push((*window, count));
            Ok(())
        };
        block.sort_as::<K>(7, 3, &pool, &mut sink).unwrap();
        all
    }

    #[test]
    fn every_form_of_key_gives_every_window_in_order() {
        let text = text(300);
        for order in 1..=MAX_ORDER {
            let mut block = Block::new(order);
            block.extend(&text);
            let expected = expected(&text, order);
            assert_eq!(windows::<u64>(&block), expected);
            assert_eq!(windows::<u128>(&block), expected);
            assert_eq!(windows::<[WordId; MAX_ORDER - 1]>(&block), expected);
        }
    }

    #[test]
    fn text_may_be_cut_anywhere() {
        let text = text(12);
        for order in 1..=MAX_ORDER {
            for cut in 0..text.len() {
                let mut counts = BTreeMap::new();
                let mut block = Block::new(order);
                for part in [&text[..cut], &text[cut..]] {
                    block.extend(part);
                    for (window, count) in windows::<u64>(&block) {
                        *counts.entry(window).or_default() += count;
                    }
                    block.retire();
                }
                assert_eq!(block.len(), 0);
                assert_eq!(counts.into_iter().collect::<Vec<(Window, u64)>>(), expected(&text, order));
            }
        }
    }

    #[test]
    fn words_are_cut_into_ranges_that_cover_them() {
        let buckets = Buckets::new(&[5, 5, 5, 1, 9, 9], 12);
        assert_eq!(buckets.split(0..12, 3).collect::<Vec<_>>(), [0..6, 6..12]);
        assert_eq!(buckets.split(0..12, 1).collect::<Vec<_>>(), [0..2, 2..6, 6..10, 10..12]);
        assert_eq!(buckets.split(2..12, 2).collect::<Vec<_>>(), [2..6, 6..10, 10..12]);
        assert_eq!(buckets.of(5), [0, 1, 2]);
        assert!(buckets.of(0).is_empty());
    }
}
