//! From raw counts to the adjusted counts of Kneser-Ney, and their statistics.

use rayon::prelude::*;

use super::trie::{Level, rows_after_bos, suffix_links};
use crate::vocab::{BOS, EOS, UNK};

/// Everything that the probabilities are computed from.
pub(super) struct Adjusted {
    /// `count` holds adjusted counts.
    pub(super) levels: Vec<Level>,
    /// Per level, the row one order below of each n-gram without its first word; empty for unigrams.
    pub(super) links: Vec<Vec<u32>>,
    /// Per level, which n-grams are pruned; `None` where nothing is.
    pub(super) pruned: Vec<Option<Vec<bool>>>,
    /// Per level, how many n-grams have the adjusted counts 1, 2, 3 and 4.
    pub(super) counts_of_counts: Vec<[u64; 4]>,
}

/// Replaces raw counts by adjusted ones, except at the highest order and after `<s>`.
///
/// `prune` has a threshold for every order. Pruned n-grams take part in all counts: they are only left out
/// of the result, and what they would have had goes to the lower order.
pub(super) fn adjust(mut levels: Vec<Level>, prune: &[u64]) -> Adjusted {
    let top = levels.len() - 1;
    let mut links = vec![Vec::new()];
    for at in 1..=top {
        links.push(suffix_links(&levels, at, &links[at - 1]));
    }
    let pruned: Vec<_> = levels.iter().zip(prune).enumerate().map(|(at, (l, t))| mark(at, l, *t)).collect();
    let closing = closing_rows(&levels, &links);

    let after_bos = rows_after_bos(&levels);
    for (level, after_bos) in levels[..top].iter_mut().zip(after_bos) {
        level.count[..after_bos.start].fill(0);
        level.count[after_bos.end..].fill(0);
    }
    levels[0].count[BOS as usize] = 0;
    levels[..top].par_iter_mut().zip(&links[1..]).for_each(|(level, links)| {
        for row in links {
            level.count[*row as usize] += 1;
        }
    });

    let mut counts_of_counts: Vec<_> = levels.par_iter().map(|level| tally(&level.count)).collect();
    for (at, (row, raw)) in closing.into_iter().enumerate() {
        for (count, change) in [(levels[at].count[row], -1), (raw, 1)] {
            if let 1..=4 = count {
                let n = &mut counts_of_counts[at][count as usize - 1];
                *n = n.wrapping_add_signed(change);
            }
        }
    }
    Adjusted { levels, links, pruned, counts_of_counts }
}

fn mark(at: usize, level: &Level, threshold: u64) -> Option<Vec<bool>> {
    if threshold == 0 {
        return None;
    }
    let mut marks: Vec<_> = level.count.iter().map(|count| u64::from(*count) <= threshold).collect();
    if at == 0 {
        for special in [UNK, BOS, EOS] {
            marks[special as usize] = false;
        }
    }
    Some(marks)
}

/// The n-grams below the highest order that `lmplz` sees last, with their raw counts.
///
/// It streams n-grams by their last word, then the one before, and so on, and closes the last of each order
/// with its raw count instead of the adjusted one when it tallies counts of counts. One n-gram per order
/// hardly matters, but discounts enter every probability: without following this, no small model would
/// agree with `lmplz` to the last digits.
fn closing_rows(levels: &[Level], links: &[Vec<u32>]) -> Vec<(usize, u32)> {
    let mut closing = Vec::new();
    let mut row = levels[0].count.iter().rposition(|count| *count > 0);
    for (at, level) in levels[..levels.len() - 1].iter().enumerate() {
        let Some(last) = row else { break };
        closing.push((last, level.count[last]));
        // Rows ascend by their first word, so the last that extends this one has the greatest.
        row = links[at + 1].iter().rposition(|link| *link as usize == last);
    }
    closing
}

fn tally(counts: &[u32]) -> [u64; 4] {
    let mut n = [0; 5];
    for count in counts {
        n[(*count as usize).min(5) % 5] += 1;
    }
    [n[1], n[2], n[3], n[4]]
}
