//! From raw counts to the adjusted counts of Kneser-Ney, and their statistics.

use std::ops::Range;

use gristmill_core::Result;
use rayon::prelude::*;

use super::room::{Room, ranges};
use super::trie::{Level, rows_after_bos, suffix_links};
use crate::vocab::{BOS, EOS, UNK};
use gristmill_core::column::Column;

/// Everything that the probabilities are computed from.
pub(super) struct Adjusted {
    /// `count` holds adjusted counts.
    pub(super) levels: Vec<Level>,
    /// Per level, the row one order below of each n-gram without its first word; empty for unigrams.
    pub(super) links: Vec<Column<u32>>,
    /// Per level, which n-grams are pruned; `None` where nothing is.
    pub(super) pruned: Vec<Option<Marks>>,
    /// Per level, how many n-grams have the adjusted counts 1, 2, 3 and 4.
    pub(super) counts_of_counts: Vec<[u64; 4]>,
}

/// A bit a row.
#[derive(Default)]
pub(super) struct Marks {
    bits: Vec<u64>,
}

impl Marks {
    fn of(counts: &Column<u32>, marked: impl Fn(u32) -> bool) -> Self {
        // One row more than there are may be asked for.
        let mut bits = vec![0; counts.len() / 64 + 1];
        for (row, count) in counts.values().enumerate() {
            bits[row / 64] |= u64::from(marked(count)) << (row % 64);
        }
        Self { bits }
    }

    #[inline]
    pub(super) fn get(&self, row: usize) -> bool {
        self.bits[row / 64] >> (row % 64) & 1 == 1
    }

    fn clear(&mut self, row: usize) {
        self.bits[row / 64] &= !(1 << (row % 64));
    }

    /// How many rows are marked.
    pub(super) fn count(&self) -> u64 {
        self.bits.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

/// Replaces raw counts by adjusted ones, except at the highest order and after `<s>`.
///
/// `prune` has a threshold for every order. Pruned n-grams take part in all counts: they are only left out
/// of the result, and what they would have had goes to the lower order.
pub(super) fn adjust(mut levels: Vec<Level>, prune: &[u64], room: &Room) -> Result<Adjusted> {
    let top = levels.len() - 1;
    let mut links = vec![Column::default()];
    for at in 1..=top {
        links.push(suffix_links(&levels, at, &links[at - 1], room)?);
    }
    let pruned: Vec<_> = levels.iter().zip(prune).enumerate().map(|(at, (l, t))| mark(at, l, *t)).collect();
    let closing = closing_rows(&levels, &links);

    let mut after_bos = rows_after_bos(&levels);
    // <s> itself is never predicted, however often it occurs.
    after_bos[0] = 0..0;
    if top == 0 {
        let mut counts = levels[0].count.to_vec();
        counts[BOS as usize] = 0;
        levels[0].count = counts.into();
    }
    for (at, after_bos) in after_bos[..top].iter().enumerate() {
        levels[at].count = distinct_before(&levels[at].count, &links[at + 1], after_bos, room)?;
    }

    let mut counts_of_counts: Vec<_> = levels.par_iter().map(|level| tally(&level.count)).collect();
    for (at, (row, raw)) in closing.into_iter().enumerate() {
        for (count, change) in [(levels[at].count[row], -1), (raw, 1)] {
            if let 1..=4 = count {
                let n = &mut counts_of_counts[at][count as usize - 1];
                *n = n.wrapping_add_signed(change);
            }
        }
    }
    Ok(Adjusted { levels, links, pruned, counts_of_counts })
}

/// How many distinct words come before each n-gram: how many links lead to it. Rows in `keep` keep their
/// raw counts; nothing comes before them.
fn distinct_before(
    raw: &Column<u32>,
    links: &Column<u32>,
    keep: &Range<usize>,
    room: &Room,
) -> Result<Column<u32>> {
    // Every thread goes through all links for its window.
    let threads = rayon::current_num_threads();
    let size = (room.window / threads).min(raw.len().div_ceil(threads));
    let windows: Vec<_> = ranges(raw.len(), size).collect();
    let mut out = room.writer();
    for together in windows.chunks(threads) {
        room.control.check()?;
        let counts: Vec<Vec<u32>> = together
            .par_iter()
            .map(|window| {
                let mut counts = vec![0; window.len()];
                let kept = keep.start.max(window.start)..keep.end.min(window.end);
                if !kept.is_empty() {
                    counts[kept.start - window.start..kept.end - window.start].copy_from_slice(&raw[kept]);
                }
                for link in links.values() {
                    if let Some(count) = counts.get_mut((link as usize).wrapping_sub(window.start)) {
                        *count += 1;
                    }
                }
                counts
            })
            .collect();
        counts.iter().try_for_each(|counts| out.extend(counts))?;
        raw.release();
    }
    out.finish()
}

fn mark(at: usize, level: &Level, threshold: u64) -> Option<Marks> {
    if threshold == 0 {
        return None;
    }
    let mut marks = Marks::of(&level.count, |count| u64::from(count) <= threshold);
    if at == 0 {
        [UNK, BOS, EOS].into_iter().for_each(|special| marks.clear(special as usize));
    }
    Some(marks)
}

/// The n-grams below the highest order that `lmplz` sees last, with their raw counts.
///
/// It streams n-grams by their last word, then the one before, and so on, and closes the last of each order
/// with its raw count instead of the adjusted one when it tallies counts of counts. One n-gram per order
/// hardly matters, but discounts enter every probability: without following this, no small model would
/// agree with `lmplz` to the last digits.
fn closing_rows(levels: &[Level], links: &[Column<u32>]) -> Vec<(usize, u32)> {
    let mut closing = Vec::new();
    let mut row = levels[0].count.iter().rposition(|count| *count > 0);
    for (at, level) in levels[..levels.len() - 1].iter().enumerate() {
        let Some(last) = row else { break };
        closing.push((last, level.count[last]));
        // Rows ascend by their first word, so the last that extends this one has the greatest.
        row = links[at + 1].iter().rposition(|link| *link as usize == last);
        links[at + 1].release();
    }
    closing
}

fn tally(counts: &Column<u32>) -> [u64; 4] {
    let mut n = [0; 5];
    for count in counts.pieces().flatten() {
        n[(*count as usize).min(5) % 5] += 1;
    }
    [n[1], n[2], n[3], n[4]]
}

#[cfg(test)]
mod tests {
    use gristmill_core::Control;

    use super::*;

    #[test]
    fn marks_are_kept_by_row() {
        let counts: Vec<u32> = (0..200).map(|i| i % 7).collect();
        let mut marks = Marks::of(&counts.clone().into(), |count| count <= 2);
        assert!(counts.iter().enumerate().all(|(row, count)| marks.get(row) == (*count <= 2)));
        assert_eq!(marks.count(), counts.iter().filter(|count| **count <= 2).count() as u64);
        marks.clear(70);
        assert!(!marks.get(70) && marks.get(71));
    }

    #[test]
    fn links_are_counted_whatever_the_windows() {
        let raw: Column<u32> = vec![9, 8, 7, 6, 5].into();
        let links = vec![4, 0, 4, 3, 4, 0].into();
        let control = Control::default();
        for window in [1, 2, 3, 4, usize::MAX] {
            let room = Room { window, ..Room::ample(&control) };
            assert_eq!(distinct_before(&raw, &links, &(1..3), &room).unwrap()[..], [2, 8, 7, 1, 3]);
            assert_eq!(distinct_before(&raw, &links, &(0..0), &room).unwrap()[..], [2, 0, 0, 1, 3]);
        }
    }
}
