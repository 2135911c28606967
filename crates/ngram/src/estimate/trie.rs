//! All n-grams of all orders as one trie, built from sorted windows.

use std::ops::Range;

use gristmill_core::{Code, Error, Result};

use super::room::Room;
use super::window::{MAX_ORDER, Window};
use crate::tables::{children, rows_under, tasks};
use crate::vocab::{BOS, WordId};
use gristmill_core::column::{Column, ColumnWriter};

/// The n-grams of one order, ascending; 12 bytes each.
#[derive(Default)]
pub(super) struct Level {
    /// Last word of each n-gram.
    pub(super) word: Column<WordId>,
    /// `child[i]..child[i + 1]` are the n-grams of the next order that begin with n-gram `i`. Empty at the
    /// highest order.
    pub(super) child: Column<u32>,
    /// How often each occurs; later its adjusted count.
    pub(super) count: Column<u32>,
}

/// A [`Level`] that is being written.
struct LevelWriter {
    word: ColumnWriter<WordId>,
    child: ColumnWriter<u32>,
    count: ColumnWriter<u32>,
}

/// Takes windows in ascending order.
pub(super) struct TrieBuilder {
    levels: Vec<LevelWriter>,
    last: Window,
    /// Occurrences of each prefix of `last`.
    open: [u64; MAX_ORDER],
    /// Number of words in `last`; 0 before the first.
    depth: usize,
}

impl TrieBuilder {
    pub(super) fn new(order: usize, room: &Room) -> Self {
        let level = |_| LevelWriter { word: room.writer(), child: room.writer(), count: room.writer() };
        let levels = (0..order).map(level).collect();
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
            self.unigrams_up_to(window.0[0] as usize)?;
        }
        for d in shared..len {
            let children = self.next_row(d + 1)?;
            let level = &mut self.levels[d];
            level.word.push(window.0[d])?;
            if let Some(start) = children {
                level.child.push(start)?;
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
        self.unigrams_up_to(vocab_len)?;
        for d in 1..self.levels.len() {
            let end = self.levels[d].word.len() as u32;
            self.levels[d - 1].child.push(end)?;
        }
        let finish = |level: LevelWriter| {
            let (word, child, count) = (level.word.finish()?, level.child.finish()?, level.count.finish()?);
            Ok(Level { word, child, count })
        };
        self.levels.into_iter().map(finish).collect()
    }

    /// Records the counts of the prefixes of the last window that are longer than `shared`.
    fn close(&mut self, shared: usize) -> Result<()> {
        for d in shared..self.depth {
            let count = u32::try_from(self.open[d]).map_err(|_| {
                Error::new(Code::Unsupported, format!("one {}-gram occurs more than 2^32 - 1 times", d + 1))
            })?;
            self.levels[d].count.push(count)?;
        }
        Ok(())
    }

    fn unigrams_up_to(&mut self, id: usize) -> Result<()> {
        let children = self.levels.get(1).map(|next| next.word.len() as u32);
        let level = &mut self.levels[0];
        for id in level.word.len()..id {
            level.word.push(id as WordId)?;
            level.count.push(0)?;
            if let Some(start) = children {
                level.child.push(start)?;
            }
        }
        Ok(())
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

    /// Cuts the rows into windows: rows and children of one fit into the room, or it is one row.
    fn windows(&self, room: &Room) -> Vec<Range<usize>> {
        let rows = self.child.len() - 1;
        let mut windows = Vec::new();
        let mut from = 0;
        while from < rows {
            let goal = room.window.saturating_add(self.child[from] as usize);
            let most = rows.min(from.saturating_add(room.window));
            let more = self.child[from + 1..most].partition_point(|end| (*end as usize) < goal);
            windows.push(from..from + 1 + more);
            from += 1 + more;
        }
        self.child.release();
        windows
    }
}

/// For every n-gram of `levels[at]` the row, one order below, of the n-gram without its first word.
///
/// `shorter` are these links one order below. The n-gram without its first word begins with the context
/// without its first word, so it is among the children of the context's link; and children ascend on both
/// sides, so one walk finds them all.
pub(super) fn suffix_links(
    levels: &[Level],
    at: usize,
    shorter: &Column<u32>,
    room: &Room,
) -> Result<Column<u32>> {
    let level = &levels[at];
    if at == 1 {
        return Ok(level.word.clone());
    }
    let (contexts, below) = (&levels[at - 1], &levels[at - 2]);
    let tasks = tasks(&contexts.child);
    let mut links: Option<Column<u32>> = None;
    for window in below.windows(room) {
        let release = || {
            [&contexts.child, shorter, &level.word].into_iter().chain(&links).for_each(Column::release);
        };
        let next = room.map(&tasks, release, |task| {
            let rows = rows_under(&contexts.child, task);
            let mut found = links.as_ref().map_or_else(|| vec![0; rows.len()], |l| l[rows.clone()].to_vec());
            for context in task.clone() {
                let suffix = shorter[context] as usize;
                if window.contains(&suffix) {
                    let own = children(&contexts.child, context);
                    let candidates = children(&below.child, suffix);
                    let found = &mut found[own.start - rows.start..own.end - rows.start];
                    link_siblings(&level.word[own], &contexts.word, candidates, found);
                }
            }
            found
        })?;
        links = Some(next);
        [&below.child, &contexts.word].into_iter().for_each(Column::release);
    }
    Ok(links.unwrap_or_default())
}

/// The rows within `candidates` that have these words.
#[inline]
fn link_siblings(words: &[WordId], suffixes: &[WordId], mut candidates: Range<usize>, links: &mut [u32]) {
    for (word, link) in words.iter().zip(links) {
        candidates.start += skip_to(&suffixes[candidates.clone()], *word);
        *link = candidates.start as u32;
    }
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
        rows = rows_under(&parents.child, &rows);
        all.push(rows.clone());
    }
    all
}

#[cfg(test)]
mod tests {
    use gristmill_core::Control;

    use super::*;
    use crate::vocab::EOS;

    fn trie(room: &Room) -> Vec<Level> {
        // "a b" twice, "b b" once; a = 3, b = 4.
        let mut builder = TrieBuilder::new(3, room);
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
        let levels = trie(&Room::ample(&Control::default()));
        assert_eq!(levels[0].word[..], [0, 1, 2, 3, 4, 5]);
        assert_eq!(levels[0].count[..], [0, 3, 3, 2, 4, 0]);
        assert_eq!(levels[0].child[..], [0, 0, 2, 2, 3, 5, 5]);
        assert_eq!(levels[1].word[..], [3, 4, 4, EOS, 4]);
        assert_eq!(levels[1].count[..], [2, 1, 2, 3, 1]);
        assert_eq!(levels[1].child[..], [0, 1, 2, 3, 3, 4]);
        assert_eq!(levels[2].word[..], [4, 4, EOS, EOS]);
        assert_eq!(levels[2].count[..], [2, 1, 2, 1]);
    }

    #[test]
    fn links_drop_the_first_word_whatever_the_windows() {
        let control = Control::default();
        for window in [1, 2, 3, usize::MAX] {
            let room = Room { window, ..Room::ample(&control) };
            let levels = trie(&room);
            let bigrams = suffix_links(&levels, 1, &Column::default(), &room).unwrap();
            assert_eq!(bigrams[..], levels[1].word[..]);
            // <s> a b -> a b; <s> b b -> b b; a b </s> -> b </s>; b b </s> -> b </s>.
            assert_eq!(suffix_links(&levels, 2, &bigrams, &room).unwrap()[..], [2, 4, 3, 3]);
        }
    }

    #[test]
    fn windows_cover_all_rows_and_keep_to_their_size() {
        let control = Control::default();
        let levels = trie(&Room::ample(&control));
        let windows = |window| levels[0].windows(&Room { window, ..Room::ample(&control) });
        assert_eq!(windows(usize::MAX), vec![Range { start: 0, end: 6 }]);
        // Rows 0 to 5 have 0, 2, 0, 1, 2 and 0 children.
        assert_eq!(windows(2), [0..2, 2..4, 4..5, 5..6]);
        assert_eq!(windows(1), [0..1, 1..2, 2..3, 3..4, 4..5, 5..6]);
    }

    #[test]
    fn rows_of_sentence_starts() {
        assert_eq!(rows_after_bos(&trie(&Room::ample(&Control::default()))), [1..2, 0..2, 0..2]);
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
        let control = Control::default();
        let mut builder = TrieBuilder::new(1, &Room::ample(&control));
        builder.push(&Window([7, 0, 0, 0, 0, 0]), 1 << 32).unwrap();
        assert_eq!(builder.finish(8).err().unwrap().code(), Code::Unsupported);
    }
}
