//! All n-grams of all orders as one trie, built from sorted windows.

use std::ops::Range;

use gristmill_core::{Code, Error, Result};
use rayon::prelude::*;

use super::window::{MAX_ORDER, Window};
use crate::vocab::{BOS, WordId};

/// Rows that one task handles.
const TASK: usize = 1 << 16;

/// The n-grams of one order, ascending; 12 bytes each.
#[derive(Default)]
pub(super) struct Level {
    /// Last word of each n-gram.
    pub(super) word: Vec<WordId>,
    /// `child[i]..child[i + 1]` are the n-grams of the next order that begin with n-gram `i`. Empty at the
    /// highest order.
    pub(super) child: Vec<u32>,
    /// How often each occurs; later its adjusted count.
    pub(super) count: Vec<u32>,
}

/// Takes windows in ascending order.
pub(super) struct TrieBuilder {
    levels: Vec<Level>,
    last: Window,
    /// Occurrences of each prefix of `last`.
    open: [u64; MAX_ORDER],
    /// Number of words in `last`; 0 before the first.
    depth: usize,
}

impl TrieBuilder {
    pub(super) fn new(order: usize) -> Self {
        let levels = (0..order).map(|_| Level::default()).collect();
        Self { levels, last: Window([0; MAX_ORDER]), open: [0; MAX_ORDER], depth: 0 }
    }

    /// Adds a window that is greater than all before it.
    pub(super) fn push(&mut self, window: &Window, count: u64) -> Result<()> {
        let len = window.len(self.levels.len());
        let shared =
            window.0[..len].iter().zip(&self.last.0[..self.depth]).take_while(|(a, b)| a == b).count();
        self.close(shared)?;
        if shared == 0 {
            // Every word of the vocabulary has its unigram, seen or not: the row is the id.
            self.unigrams_up_to(window.0[0] as usize);
        }
        for d in shared..len {
            let children = self.next_row(d + 1)?;
            let level = &mut self.levels[d];
            level.word.push(window.0[d]);
            if let Some(start) = children {
                level.child.push(start);
            }
            self.open[d] = 0;
        }
        for n in &mut self.open[..len] {
            *n += count;
        }
        self.last = *window;
        self.depth = len;
        Ok(())
    }

    pub(super) fn finish(mut self, vocab_len: usize) -> Result<Vec<Level>> {
        self.close(0)?;
        self.unigrams_up_to(vocab_len);
        for d in 1..self.levels.len() {
            let end = self.levels[d].word.len() as u32;
            self.levels[d - 1].child.push(end);
        }
        Ok(self.levels)
    }

    /// Records the counts of the prefixes of the last window that are longer than `shared`.
    fn close(&mut self, shared: usize) -> Result<()> {
        for d in shared..self.depth {
            let count = u32::try_from(self.open[d]).map_err(|_| {
                Error::new(Code::Unsupported, format!("one {}-gram occurs more than 2^32 - 1 times", d + 1))
            })?;
            self.levels[d].count.push(count);
        }
        Ok(())
    }

    fn unigrams_up_to(&mut self, id: usize) {
        let children = self.levels.get(1).map(|next| next.word.len() as u32);
        let level = &mut self.levels[0];
        for id in level.word.len()..id {
            level.word.push(id as WordId);
            level.count.push(0);
            level.child.extend(children);
        }
    }

    /// The next free row of a level, if there is such a level.
    #[inline]
    fn next_row(&self, level: usize) -> Result<Option<u32>> {
        let Some(level_) = self.levels.get(level) else { return Ok(None) };
        match u32::try_from(level_.word.len()) {
            Ok(row) if row < u32::MAX => Ok(Some(row)),
            _ => Err(Error::new(
                Code::Unsupported,
                format!("more than 2^32 - 2 distinct n-grams of order {}", level + 1),
            )),
        }
    }
}

impl Level {
    pub(super) fn len(&self) -> usize {
        self.word.len()
    }

    #[inline]
    pub(super) fn children(&self, row: usize) -> Range<usize> {
        self.child[row] as usize..self.child[row + 1] as usize
    }

    /// Cuts the rows into ranges with about equally many children each, so that siblings stay together.
    pub(super) fn tasks(&self) -> Vec<Range<usize>> {
        let mut tasks = Vec::new();
        let mut from = 0;
        let rows = self.child.len() - 1;
        while from < rows {
            let goal = self.child[from] as usize + TASK;
            let more = self.child[from + 1..rows].partition_point(|end| (*end as usize) < goal);
            let to = (from + 1 + more).min(from + TASK);
            tasks.push(from..to);
            from = to;
        }
        tasks
    }
}

/// Cuts `rows` into consecutive slices of these lengths.
pub(super) fn split_mut<T>(
    mut rows: &mut [T],
    lengths: impl IntoIterator<Item = usize>,
) -> impl Iterator<Item = &mut [T]> {
    lengths.into_iter().map(move |length| {
        let (head, tail) = std::mem::take(&mut rows).split_at_mut(length);
        rows = tail;
        head
    })
}

/// For every n-gram of `levels[at]` the row, one order below, of the n-gram without its first word.
///
/// `shorter` are these links one order below. The n-gram without its first word begins with the context
/// without its first word, so it is among the children of the context's link; and children ascend on both
/// sides, so one walk finds them all.
pub(super) fn suffix_links(levels: &[Level], at: usize, shorter: &[u32]) -> Vec<u32> {
    let level = &levels[at];
    if at == 1 {
        return level.word.clone();
    }
    let (contexts, below, suffixes) = (&levels[at - 1], &levels[at - 2], &levels[at - 1].word);
    let mut links = vec![0; level.len()];
    let tasks = contexts.tasks();
    let slices = split_mut(&mut links, tasks.iter().map(|t| rows_under(contexts, t).len()));
    tasks.iter().zip(slices).collect::<Vec<_>>().into_par_iter().for_each(|(task, links)| {
        let mut links = links.iter_mut();
        for context in task.clone() {
            let mut candidates = below.children(shorter[context] as usize);
            for (word, link) in level.word[contexts.children(context)].iter().zip(&mut links) {
                candidates.start += skip_to(&suffixes[candidates.clone()], *word);
                *link = candidates.start as u32;
            }
        }
    });
    links
}

/// The rows whose parents are in `task`.
pub(super) fn rows_under(parents: &Level, task: &Range<usize>) -> Range<usize> {
    parents.child[task.start] as usize..parents.child[task.end] as usize
}

/// Index of the first word that is not below `word`, looking near the front first.
#[inline]
fn skip_to(words: &[WordId], word: WordId) -> usize {
    let mut step = 1;
    let mut low = 0;
    while low + step <= words.len() && words[low + step - 1] < word {
        low += step;
        step *= 2;
    }
    let high = words.len().min(low + step);
    low + words[low..high].partition_point(|w| *w < word)
}

/// At every level, the rows of n-grams that begin with `<s>`.
pub(super) fn rows_after_bos(levels: &[Level]) -> Vec<Range<usize>> {
    let mut rows = BOS as usize..BOS as usize + 1;
    let mut all = vec![rows.clone()];
    for parents in &levels[..levels.len() - 1] {
        rows = rows_under(parents, &rows);
        all.push(rows.clone());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab::EOS;

    fn trie() -> Vec<Level> {
        // "a b" twice, "b b" once; a = 3, b = 4.
        let mut builder = TrieBuilder::new(3);
        for (words, count) in [
            ([BOS, 3, 4], 2),
            ([BOS, 4, 4], 1),
            ([EOS, 0, 0], 3),
            ([3, 4, EOS], 2),
            ([4, EOS, 0], 3),
            ([4, 4, EOS], 1),
        ] {
            let mut window = Window([0; MAX_ORDER]);
            window.0[..3].copy_from_slice(&words);
            builder.push(&window, count).unwrap();
        }
        builder.finish(6).unwrap()
    }

    #[test]
    fn prefixes_of_windows_are_the_raw_counts() {
        let levels = trie();
        assert_eq!(levels[0].word, [0, 1, 2, 3, 4, 5]);
        assert_eq!(levels[0].count, [0, 3, 3, 2, 4, 0]);
        assert_eq!(levels[0].child, [0, 0, 2, 2, 3, 5, 5]);
        assert_eq!(levels[1].word, [3, 4, 4, EOS, 4]);
        assert_eq!(levels[1].count, [2, 1, 2, 3, 1]);
        assert_eq!(levels[1].child, [0, 1, 2, 3, 3, 4]);
        assert_eq!(levels[2].word, [4, 4, EOS, EOS]);
        assert_eq!(levels[2].count, [2, 1, 2, 1]);
    }

    #[test]
    fn links_drop_the_first_word() {
        let levels = trie();
        let bigrams = suffix_links(&levels, 1, &[]);
        assert_eq!(bigrams, levels[1].word);
        // <s> a b -> a b; <s> b b -> b b; a b </s> -> b </s>; b b </s> -> b </s>.
        assert_eq!(suffix_links(&levels, 2, &bigrams), [2, 4, 3, 3]);
    }

    #[test]
    fn rows_of_sentence_starts() {
        assert_eq!(rows_after_bos(&trie()), [1..2, 0..2, 0..2]);
    }

    #[test]
    fn galloping_finds_every_word() {
        let words: Vec<_> = (0..100).map(|i| i * 3).collect();
        for from in 0..words.len() {
            for (at, word) in words.iter().enumerate().skip(from) {
                assert_eq!(from + skip_to(&words[from..], *word), at);
            }
        }
    }

    #[test]
    fn a_count_beyond_its_field_is_refused() {
        let mut builder = TrieBuilder::new(1);
        builder.push(&Window([7, 0, 0, 0, 0, 0]), 1 << 32).unwrap();
        assert_eq!(builder.finish(8).err().unwrap().code(), Code::Unsupported);
    }
}
