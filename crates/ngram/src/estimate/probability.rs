//! Interpolated probabilities and backoffs from adjusted counts, and the trie made of them.

use std::ops::Range;

use gristmill_core::Result;

use super::OrderSummary;
use super::adjust::{Adjusted, Marks};
use super::discount::Discounts;
use super::room::{Room, ranges};
use super::trie::Level;
use crate::tables::{TrieLevel, children, rows_under, tasks};
use crate::vocab::BOS;
use gristmill_core::column::Column;

/// The logarithm that ARPA files give to zero. Only a discount of exactly zero leads here.
const LOG10_ZERO: f32 = -99.0;

/// What one context gives its words: all that is discounted or pruned goes to the lower order.
struct Context {
    total: f64,
    backoff: f64,
}

impl Context {
    /// Of the n-grams in `rows`, whose counts these are.
    fn new(counts: &[u32], rows: Range<usize>, pruned: Option<&Marks>, discounts: &Discounts) -> Self {
        let (mut total, mut freed, mut n) = (0u64, 0u64, [0u64; 4]);
        for (count, row) in counts.iter().zip(rows) {
            total += u64::from(*count);
            if pruned.is_some_and(|pruned| pruned.get(row)) {
                freed += u64::from(*count);
            } else {
                n[(*count as usize).min(3)] += 1;
            }
        }
        let discounted: f64 = discounts.0.iter().zip(&n[1..]).map(|(d, n)| d * *n as f64).sum();
        let total = total as f64;
        Self { total, backoff: (discounted + freed as f64) / total }
    }

    #[inline]
    fn prob(&self, count: u32, discounts: &Discounts, lower: f64) -> f32 {
        ((f64::from(count) - discounts.of(count)) / self.total + self.backoff * lower) as f32
    }
}

/// The levels of a model; n-grams that are pruned are left out.
///
/// `uniform` is the probability below the unigrams. Unigrams that are pruned stay with what that gives them
/// when `closed`, and leave their row out otherwise.
pub(super) fn levels(
    adjusted: Adjusted,
    orders: &[OrderSummary],
    uniform: f64,
    closed: bool,
    room: &Room,
) -> Result<Vec<TrieLevel>> {
    let Adjusted { mut levels, mut links, pruned, .. } = adjusted;
    let discounts = |at: usize| Discounts(orders[at].discounts);
    let mut prob = unigrams(&levels[0].count, pruned[0].as_ref(), &discounts(0), uniform);
    let mut made = Vec::with_capacity(levels.len());
    for at in 1..=levels.len() {
        let done = &mut levels[at - 1];
        done.count = Column::default();
        let (word, child) = (done.word.clone(), done.child.clone());
        let Some(level) = levels.get(at) else {
            made.push(TrieLevel { word, child, prob: room.each(&prob, log10)?, backoff: Column::default() });
            break;
        };
        let lower = gather(&prob, &std::mem::take(&mut links[at]), room)?;
        let logarithms = room.each(&prob, log10)?;
        let of = Extension { child: &child, level, lower, pruned: pruned[at].as_ref() };
        let (next, backoff) = of.weights(&discounts(at), room)?;
        made.push(TrieLevel { word, child, prob: logarithms, backoff });
        prob = next;
    }
    drop(levels);
    for at in (usize::from(closed)..made.len()).rev() {
        if let Some(pruned) = &pruned[at] {
            remove(&mut made, at, pruned, room)?;
        }
    }
    Ok(made)
}

fn log10(x: f32) -> f32 {
    // A probability may round above 1, and 0 must not become an infinity.
    if x >= 1.0 { 0.0 } else { x.log10().max(LOG10_ZERO) }
}

fn unigrams(counts: &[u32], pruned: Option<&Marks>, discounts: &Discounts, uniform: f64) -> Column<f32> {
    let context = Context::new(counts, 0..counts.len(), pruned, discounts);
    let mut prob: Vec<_> = counts
        .iter()
        .enumerate()
        .map(|(row, count)| match pruned {
            Some(pruned) if pruned.get(row) => (context.backoff * uniform) as f32,
            _ => context.prob(*count, discounts, uniform),
        })
        .collect();
    // Never predicted, so that scoring it as part of a sentence costs nothing.
    prob[BOS as usize] = 1.0;
    prob.into()
}

/// The numbers of `from` that the links name.
fn gather(from: &Column<f32>, links: &Column<u32>, room: &Room) -> Result<Column<f32>> {
    let tasks: Vec<_> = ranges(links.len(), 1 << 16).collect();
    let mut gathered: Option<Column<f32>> = None;
    for window in ranges(from.len(), room.window) {
        let release = || {
            links.release();
            gathered.iter().for_each(Column::release);
        };
        let next = room.map(&tasks, release, |rows| {
            let known = from.get(window.clone()).unwrap_or_default();
            let at = |link: u32| known.get((link as usize).wrapping_sub(window.start)).copied();
            match &gathered {
                None => links[rows.clone()].iter().map(|link| at(*link).unwrap_or(0.0)).collect(),
                Some(gathered) => {
                    let before = &gathered[rows.clone()];
                    links[rows.clone()].iter().zip(before).map(|(l, b)| at(*l).unwrap_or(*b)).collect()
                }
            }
        })?;
        gathered = Some(next);
        from.release();
    }
    Ok(gathered.unwrap_or_default())
}

/// The step from one order to the next.
struct Extension<'a> {
    /// Children of the contexts.
    child: &'a Column<u32>,
    /// The n-grams under them.
    level: &'a Level,
    /// The probability of each n-gram without its first word.
    lower: Column<f32>,
    pruned: Option<&'a Marks>,
}

impl Extension<'_> {
    /// Probabilities of the n-grams and log10 backoffs of their contexts.
    fn weights(&self, discounts: &Discounts, room: &Room) -> Result<(Column<f32>, Column<f32>)> {
        let release = || {
            [self.child, &self.level.count].into_iter().for_each(Column::release);
            self.lower.release();
        };
        let (mut prob, mut backoff) = (room.writer(), room.writer());
        room.waves(
            &tasks(self.child),
            release,
            |task| self.under(task, discounts),
            |(probs, backoffs)| {
                prob.extend(&probs)?;
                backoff.extend(&backoffs)
            },
        )?;
        Ok((prob.finish()?, backoff.finish()?))
    }

    fn under(&self, contexts: &Range<usize>, discounts: &Discounts) -> (Vec<f32>, Vec<f32>) {
        let counts = &self.level.count;
        let mut probs = Vec::with_capacity(rows_under(self.child, contexts).len());
        let mut backoffs = Vec::with_capacity(contexts.len());
        for context in contexts.clone() {
            let rows = children(self.child, context);
            if rows.is_empty() {
                // What no word follows backs off for free.
                backoffs.push(0.0);
                continue;
            }
            let counts = &counts[rows.clone()];
            let context = Context::new(counts, rows.clone(), self.pruned, discounts);
            let lower = self.lower[rows].iter();
            probs.extend(counts.iter().zip(lower).map(|(n, p)| context.prob(*n, discounts, f64::from(*p))));
            backoffs.push(log10(context.backoff as f32));
        }
        (probs, backoffs)
    }
}

/// Takes the pruned rows out of a level. What extends them is pruned too, and must be out already.
fn remove(levels: &mut [TrieLevel], at: usize, pruned: &Marks, room: &Room) -> Result<()> {
    if at > 0 {
        let starts = &levels[at - 1].child;
        let mut kept = room.writer();
        let (mut row, mut before) = (0, 0);
        for start in starts.values() {
            before += (row..start as usize).filter(|row| !pruned.get(*row)).count() as u32;
            row = start as usize;
            kept.push(before)?;
        }
        levels[at - 1].child = kept.finish()?;
    }
    let level = &mut levels[at];
    level.word = retain(&level.word, pruned, room)?;
    level.child = retain(&level.child, pruned, room)?;
    level.prob = retain(&level.prob, pruned, room)?;
    level.backoff = retain(&level.backoff, pruned, room)?;
    Ok(())
}

/// The rows that are not pruned. Children have one entry more than rows, which stays.
fn retain<T: gristmill_core::column::Plain>(
    rows: &Column<T>,
    pruned: &Marks,
    room: &Room,
) -> Result<Column<T>> {
    let mut kept = room.writer();
    for (row, value) in rows.values().enumerate() {
        if !pruned.get(row) {
            kept.push(value)?;
        }
    }
    kept.finish()
}
