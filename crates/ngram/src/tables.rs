//! A language model as plain sorted tables: what estimation produces and what every file form is
//! written from or read into.

use std::ops::Range;

use gristmill_core::{Code, Error, Result};
use rayon::prelude::*;

use crate::vocab::{Vocab, WordId};
use gristmill_core::column::{Column, Pieces, Plain};

/// All n-grams of one order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OrderTable {
    /// Words of each n-gram, oldest first, `order` ids a row; rows ascend lexicographically.
    pub words: Vec<WordId>,
    /// log10 probability of each row.
    pub prob: Vec<f32>,
    /// log10 backoff weight of each row; empty for the highest order.
    pub backoff: Vec<f32>,
}

impl OrderTable {
    /// Number of n-grams.
    pub fn len(&self) -> usize {
        self.prob.len()
    }

    /// Whether there is no n-gram of this order.
    pub fn is_empty(&self) -> bool {
        self.prob.is_empty()
    }
}

/// A backoff n-gram model: `orders[n - 1]` holds the n-grams of length n.
#[derive(Clone)]
pub struct Tables {
    /// Words and their ids.
    pub vocab: Vocab,
    /// One table an order, unigrams first.
    pub orders: Vec<OrderTable>,
}

/// The same as [`Tables`] in less room: an n-gram is its last word and a place under its context, 16 bytes
/// (12 at the highest order) whatever its length, in memory or in temporary files.
///
/// This is how estimation leaves a model; files are written from it without more memory than a buffer.
#[derive(Clone)]
pub struct Trie {
    pub(crate) vocab: Vocab,
    /// One level an order, unigrams first.
    pub(crate) levels: Vec<TrieLevel>,
}

/// All n-grams of one order, ascending.
#[derive(Clone, Default)]
pub(crate) struct TrieLevel {
    /// Last word of each.
    pub(crate) word: Column<WordId>,
    /// `child[i]..child[i + 1]` are the n-grams of the next order that begin with n-gram `i`. Empty at the
    /// highest order.
    pub(crate) child: Column<u32>,
    /// log10 probability of each.
    pub(crate) prob: Column<f32>,
    /// log10 backoff weight of each; empty at the highest order.
    pub(crate) backoff: Column<f32>,
}

impl Trie {
    /// Words and their ids.
    pub fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    /// Length of the longest n-grams.
    pub fn order(&self) -> usize {
        self.levels.len()
    }

    /// Number of n-grams of length `n`, from 1 on; 0 beyond the order.
    pub fn len(&self, n: usize) -> usize {
        n.checked_sub(1).and_then(|at| self.levels.get(at)).map_or(0, |level| level.word.len())
    }

    /// Whether it has no n-gram, which no estimated model is without.
    pub fn is_empty(&self) -> bool {
        self.len(1) == 0
    }

    /// The model with every n-gram written out: `4 n + 8` bytes of memory for one of length n.
    pub fn to_tables(&self) -> Tables {
        let mut orders: Vec<OrderTable> = Vec::with_capacity(self.order());
        for n in 1..=self.order() {
            orders.push(self.spell(n, orders.last()));
        }
        Tables { vocab: self.vocab.clone(), orders }
    }

    /// The n-grams of length `n` written out, given those one shorter.
    pub(crate) fn spell(&self, n: usize, shorter: Option<&OrderTable>) -> OrderTable {
        let level = &self.levels[n - 1];
        let words = match shorter {
            None => level.word.to_vec(),
            Some(shorter) => spell_out(&self.levels[n - 2].child, &shorter.words, n - 1, &level.word),
        };
        OrderTable { words, prob: level.prob.to_vec(), backoff: level.backoff.to_vec() }
    }
}

/// The words of all n-grams one longer than `shorter`, whose rows have `n` words.
fn spell_out(child: &Column<u32>, shorter: &[WordId], n: usize, last: &Column<WordId>) -> Vec<WordId> {
    let mut words = vec![0; last.len() * (n + 1)];
    let mut rest = &mut words[..];
    let tasks: Vec<_> = tasks(child)
        .into_iter()
        .map(|task| {
            let rows = rows_under(child, &task).len() * (n + 1);
            let (own, after) = std::mem::take(&mut rest).split_at_mut(rows);
            rest = after;
            (task, own)
        })
        .collect();
    tasks.into_par_iter().for_each(|(task, words)| {
        let mut rows = words.chunks_exact_mut(n + 1);
        for context in task {
            let prefix = &shorter[context * n..(context + 1) * n];
            for (word, row) in last[children(child, context)].iter().zip(&mut rows) {
                row[..n].copy_from_slice(prefix);
                row[n] = *word;
            }
        }
    });
    child.release();
    last.release();
    words
}

/// Rows that one task handles.
const TASK: usize = 1 << 16;

/// The rows of the next level that have `row` as their context.
#[inline]
pub(crate) fn children(child: &[u32], row: usize) -> Range<usize> {
    child[row] as usize..child[row + 1] as usize
}

/// The rows of the next level whose contexts are in `task`.
pub(crate) fn rows_under(child: &[u32], task: &Range<usize>) -> Range<usize> {
    child[task.start] as usize..child[task.end] as usize
}

/// Cuts the rows of a level into ranges with about equally many children each, so that siblings stay
/// together.
pub(crate) fn tasks(child: &Column<u32>) -> Vec<Range<usize>> {
    let mut tasks = Vec::new();
    let mut from = 0;
    let rows = child.len() - 1;
    while from < rows {
        let goal = child[from] as usize + TASK;
        let most = (from + TASK).min(rows);
        let more = child[from + 1..most].partition_point(|end| (*end as usize) < goal);
        let to = from + 1 + more;
        tasks.push(from..to);
        from = to;
    }
    child.release();
    tasks
}

/// A model that a file can be written from: [`Tables`] or a [`Trie`].
pub trait Grams: private::Levels {}
impl Grams for Tables {}
impl Grams for Trie {}

pub(crate) mod private {
    use super::*;

    /// A row: its words, its log10 probability and, below the highest order, its log10 backoff weight.
    pub(crate) type Row<'a> = (&'a [WordId], f32, Option<f32>);

    /// What writers ask for.
    pub trait Levels {
        /// Words and their ids.
        fn vocab(&self) -> &Vocab;
        /// Number of n-grams of each order.
        fn counts(&self) -> Vec<u64>;
        /// How the rows of order `n` hang under those one shorter.
        fn links(&self, n: usize) -> Result<Links>;
        /// log10 probabilities of order `n`.
        fn prob(&self, n: usize) -> Numbers<'_>;
        /// log10 backoff weights of order `n`.
        fn backoff(&self, n: usize) -> Numbers<'_>;
        /// Calls `f` with every row of order `n` in turn.
        fn for_each_row(&self, n: usize, f: &mut dyn FnMut(Row<'_>) -> Result<()>) -> Result<()>;
    }

    /// Last words, and where those under each context begin.
    pub struct Links {
        /// `start[c]..start[c + 1]` are the rows with the context `c`.
        pub(crate) start: Column<u32>,
        /// Last word of each row.
        pub(crate) word: Column<WordId>,
    }

    /// Numbers in order.
    pub struct Numbers<'a>(pub(crate) Pieces<'a, f32>);
}

use private::{Levels, Links, Numbers, Row};

impl Levels for Trie {
    fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    fn counts(&self) -> Vec<u64> {
        self.levels.iter().map(|level| level.word.len() as u64).collect()
    }

    fn links(&self, n: usize) -> Result<Links> {
        let word = self.levels[n - 1].word.clone();
        let start = match n {
            1 => vec![0, word.len() as u32].into(),
            _ => self.levels[n - 2].child.clone(),
        };
        Ok(Links { start, word })
    }

    fn prob(&self, n: usize) -> Numbers<'_> {
        Numbers(self.levels[n - 1].prob.pieces())
    }

    fn backoff(&self, n: usize) -> Numbers<'_> {
        Numbers(self.levels[n - 1].backoff.pieces())
    }

    fn for_each_row(&self, n: usize, f: &mut dyn FnMut(Row<'_>) -> Result<()>) -> Result<()> {
        let level = &self.levels[n - 1];
        let mut path: Vec<_> = self.levels[..n - 1].iter().map(Cursor::new).collect();
        let mut words = vec![0; n];
        let mut backoffs = level.backoff.values();
        for (row, (word, prob)) in level.word.values().zip(level.prob.values()).enumerate() {
            descend(&mut path, row as u32, &mut words);
            words[n - 1] = word;
            f((&words, prob, backoffs.next()))?;
        }
        Ok(())
    }
}

/// A place in a level, on the way to the rows of a longer order.
struct Cursor<W, E> {
    word: W,
    /// Ends of the rows' children.
    end: E,
    /// Rows of this level that were passed.
    passed: u32,
    /// Where the children of the present row end.
    until: u32,
}

impl<'a> Cursor<(), ()> {
    fn new(
        level: &'a TrieLevel,
    ) -> Cursor<impl Iterator<Item = WordId> + 'a, impl Iterator<Item = u32> + 'a> {
        Cursor { word: level.word.values(), end: level.child.values().skip(1), passed: 0, until: 0 }
    }
}

/// Moves every level to the ancestor of `row`, which is of the level after the last; `words` become theirs.
fn descend(
    path: &mut [Cursor<impl Iterator<Item = WordId>, impl Iterator<Item = u32>>],
    row: u32,
    words: &mut [WordId],
) {
    let Some((cursor, shorter)) = path.split_last_mut() else { return };
    while cursor.until <= row {
        let present = cursor.passed;
        let (Some(word), Some(until)) = (cursor.word.next(), cursor.end.next()) else {
            unreachable!("every row has its context")
        };
        descend(shorter, present, words);
        words[shorter.len()] = word;
        (cursor.passed, cursor.until) = (present + 1, until);
    }
}

impl Levels for Tables {
    fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    fn counts(&self) -> Vec<u64> {
        self.orders.iter().map(|rows| rows.len() as u64).collect()
    }

    fn links(&self, n: usize) -> Result<Links> {
        let rows = &self.orders[n - 1];
        let backoffs = if n == self.orders.len() { 0 } else { rows.len() };
        if rows.words.len() != rows.len() * n || rows.backoff.len() != backoffs {
            return Err(unwritable(n, "its columns differ in length"));
        }
        if u32::try_from(rows.len()).is_err() {
            return Err(unwritable(n, "it has more than 2^32 - 1 rows"));
        }
        let mut start = Vec::new();
        let mut row = 0;
        if n == 1 {
            start.push(0);
            row = rows.len();
        } else {
            for context in self.orders[n - 2].words.chunks_exact(n - 1) {
                start.push(row as u32);
                while row < rows.len() && rows.words[row * n..][..n - 1] == *context {
                    row += 1;
                }
            }
        }
        start.push(row as u32);
        if row < rows.len() {
            return Err(unwritable(n, &format!("row {row} is out of order or lacks its context")));
        }
        Ok(Links { start: start.into(), word: column(rows.words.iter().skip(n - 1).step_by(n).copied()) })
    }

    fn prob(&self, n: usize) -> Numbers<'_> {
        Numbers(Pieces::of(&self.orders[n - 1].prob))
    }

    fn backoff(&self, n: usize) -> Numbers<'_> {
        Numbers(Pieces::of(&self.orders[n - 1].backoff))
    }

    fn for_each_row(&self, n: usize, f: &mut dyn FnMut(Row<'_>) -> Result<()>) -> Result<()> {
        let rows = &self.orders[n - 1];
        for (i, words) in rows.words.chunks_exact(n).enumerate() {
            f((words, rows.prob[i], rows.backoff.get(i).copied()))?;
        }
        Ok(())
    }
}

fn column<T: Plain>(values: impl Iterator<Item = T>) -> Column<T> {
    values.collect::<Vec<_>>().into()
}

pub(crate) fn unwritable(n: usize, what: &str) -> Error {
    Error::new(Code::InvalidModel, format!("the {n}-gram table cannot be written: {what}"))
}
