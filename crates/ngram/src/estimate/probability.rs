//! Interpolated probabilities and backoffs from adjusted counts, and the tables made of them.

use std::ops::Range;

use gristmill_core::{Control, Result};
use rayon::prelude::*;

use super::OrderSummary;
use super::adjust::Adjusted;
use super::discount::Discounts;
use super::trie::{Level, rows_under, split_mut};
use crate::tables::OrderTable;
use crate::vocab::{BOS, WordId};

/// The logarithm that ARPA files give to zero. Only a discount of exactly zero leads here.
const LOG10_ZERO: f32 = -99.0;

/// Linear probabilities and backoffs of one level.
struct Weights {
    prob: Vec<f32>,
    /// Empty at the highest order.
    backoff: Vec<f32>,
}

/// What one context gives its words: all that is discounted or pruned goes to the lower order.
struct Context {
    total: f64,
    backoff: f64,
}

impl Context {
    fn new(counts: &[u32], pruned: Option<&[bool]>, discounts: &Discounts) -> Self {
        let (mut total, mut freed, mut n) = (0u64, 0u64, [0u64; 4]);
        for (i, count) in counts.iter().enumerate() {
            total += u64::from(*count);
            if pruned.is_some_and(|pruned| pruned[i]) {
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

/// The tables of a model; n-grams that are pruned are left out.
///
/// `uniform` is the probability below the unigrams. Unigrams that are pruned stay with what that gives them
/// when `closed`, and leave their row out otherwise.
pub(super) fn tables(
    adjusted: Adjusted,
    orders: &[OrderSummary],
    uniform: f64,
    closed: bool,
    control: &Control,
) -> Result<Vec<OrderTable>> {
    let Adjusted { mut levels, mut links, pruned, .. } = adjusted;
    let mut weights: Vec<Weights> = Vec::with_capacity(levels.len());
    for at in 0..levels.len() {
        control.check()?;
        let marks = pruned[at].as_deref();
        let discounts = Discounts(orders[at].discounts);
        let next = match weights.last_mut() {
            None => unigrams(&levels[0].count, marks, &discounts, uniform),
            Some(lower) => {
                let links = std::mem::take(&mut links[at]);
                extend(&levels[at - 1], &levels[at].count, &links, marks, &discounts, lower)
            }
        };
        weights.push(next);
        levels[at].count = Vec::new();
    }
    weights.par_iter_mut().for_each(|w| {
        w.prob.par_iter_mut().chain(w.backoff.par_iter_mut()).for_each(|x| *x = log10(*x));
    });
    control.check()?;
    for at in (usize::from(closed)..levels.len()).rev() {
        if let Some(pruned) = &pruned[at] {
            remove(&mut levels, &mut weights[at], at, pruned);
        }
    }
    Ok(spell(levels, weights))
}

fn log10(x: f32) -> f32 {
    // A probability may round above 1, and 0 must not become an infinity.
    if x >= 1.0 { 0.0 } else { x.log10().max(LOG10_ZERO) }
}

fn unigrams(counts: &[u32], pruned: Option<&[bool]>, discounts: &Discounts, uniform: f64) -> Weights {
    let context = Context::new(counts, pruned, discounts);
    let mut prob: Vec<_> = counts
        .iter()
        .enumerate()
        .map(|(i, count)| match pruned {
            Some(pruned) if pruned[i] => (context.backoff * uniform) as f32,
            _ => context.prob(*count, discounts, uniform),
        })
        .collect();
    // Never predicted, so that scoring it as part of a sentence costs nothing.
    prob[BOS as usize] = 1.0;
    Weights { prob, backoff: Vec::new() }
}

/// Weights of the n-grams under `contexts`, and the backoffs of the contexts.
fn extend(
    contexts: &Level,
    counts: &[u32],
    links: &[u32],
    pruned: Option<&[bool]>,
    discounts: &Discounts,
    lower: &mut Weights,
) -> Weights {
    let mut prob = vec![0.0; counts.len()];
    // What no word follows backs off for free.
    lower.backoff = vec![1.0; contexts.len()];
    let tasks = contexts.tasks();
    let probs = split_mut(&mut prob, tasks.iter().map(|t| rows_under(contexts, t).len()));
    let backoffs = split_mut(&mut lower.backoff, tasks.iter().map(Range::len));
    let shares: Vec<_> = tasks.iter().zip(probs).zip(backoffs).collect();
    let lower = &lower.prob;
    shares.into_par_iter().for_each(|((task, probs), backoffs)| {
        let mut probs = probs.iter_mut();
        for (row, backoff) in task.clone().zip(backoffs) {
            let children = contexts.children(row);
            if children.is_empty() {
                continue;
            }
            let counts = &counts[children.clone()];
            let context = Context::new(counts, pruned.map(|p| &p[children.clone()]), discounts);
            for ((count, link), prob) in counts.iter().zip(&links[children]).zip(&mut probs) {
                *prob = context.prob(*count, discounts, f64::from(lower[*link as usize]));
            }
            *backoff = context.backoff as f32;
        }
    });
    Weights { prob, backoff: Vec::new() }
}

/// Takes the pruned rows out of a level. What extends them is pruned too, and must be out already.
fn remove(levels: &mut [Level], weights: &mut Weights, at: usize, pruned: &[bool]) {
    fn retain<T>(rows: &mut Vec<T>, pruned: &[bool]) {
        // Children have one entry more than rows, which stays.
        let mut marks = pruned.iter().chain(std::iter::once(&false));
        rows.retain(|_| !marks.next().is_some_and(|pruned| *pruned));
        rows.shrink_to_fit();
    }
    if at > 0 {
        let mut row = 0;
        let mut kept = 0;
        for start in &mut levels[at - 1].child {
            kept += pruned[row..*start as usize].iter().filter(|pruned| !**pruned).count();
            row = *start as usize;
            *start = kept as u32;
        }
    }
    retain(&mut levels[at].word, pruned);
    retain(&mut levels[at].child, pruned);
    retain(&mut weights.prob, pruned);
    retain(&mut weights.backoff, pruned);
}

/// Writes every n-gram out in full. The levels are dropped on the way.
fn spell(levels: Vec<Level>, weights: Vec<Weights>) -> Vec<OrderTable> {
    let mut orders: Vec<OrderTable> = Vec::with_capacity(levels.len());
    let mut contexts: Option<Level> = None;
    for (mut level, Weights { prob, backoff }) in levels.into_iter().zip(weights) {
        let last = std::mem::take(&mut level.word);
        let words = match (&contexts, orders.last()) {
            (Some(contexts), Some(shorter)) => spell_out(contexts, &shorter.words, orders.len(), &last),
            _ => last,
        };
        orders.push(OrderTable { words, prob, backoff });
        contexts = Some(level);
    }
    orders
}

/// The words of all n-grams one longer than `shorter`, whose rows have `n` words.
fn spell_out(contexts: &Level, shorter: &[WordId], n: usize, last: &[WordId]) -> Vec<WordId> {
    let mut words = vec![0; last.len() * (n + 1)];
    let tasks = contexts.tasks();
    let slices = split_mut(&mut words, tasks.iter().map(|t| rows_under(contexts, t).len() * (n + 1)));
    tasks.iter().zip(slices).collect::<Vec<_>>().into_par_iter().for_each(|(task, words)| {
        let mut rows = words.chunks_exact_mut(n + 1);
        for context in task.clone() {
            let prefix = &shorter[context * n..(context + 1) * n];
            for (word, row) in last[contexts.children(context)].iter().zip(&mut rows) {
                row[..n].copy_from_slice(prefix);
                row[n] = *word;
            }
        }
    });
    words
}
