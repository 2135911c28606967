//! How much memory the steps after counting may use, and the two ways in which they stay within it.
//!
//! Columns that are gone through from front to back are handled in *waves*: a few tasks at a time, what they
//! read released and what they made appended to the next column. Columns that are looked up in any order are
//! handled in *windows*: as many rows as there is room for, and everything that refers to them, then the next.
//! When all fits there is one window, and nothing is done twice.

use std::ops::Range;
use std::path::Path;

use gristmill_core::{Control, Result};
use rayon::prelude::*;

use gristmill_core::column::{Column, ColumnWriter, Plain, Shelf};

/// Tasks of a wave for each thread.
const TASKS: usize = 4;

/// Room to work in.
pub(super) struct Room<'a> {
    /// Where columns are kept.
    pub(super) shelf: Shelf,
    /// Numbers of a column that may be in memory to be looked up.
    pub(super) window: usize,
    pub(super) control: &'a Control,
}

impl<'a> Room<'a> {
    /// Everything in memory.
    pub(super) fn ample(control: &'a Control) -> Self {
        Self { shelf: Shelf::Memory, window: usize::MAX, control }
    }

    /// Columns in files in `dir`, and about this many bytes.
    pub(super) fn tight(dir: &Path, bytes: usize, control: &'a Control) -> Self {
        // A quarter each for what is looked up and for what is read meanwhile, as pages; half stays free.
        Self { shelf: Shelf::Disk(dir.into()), window: (bytes / 4 / size_of::<u32>()).max(1 << 10), control }
    }

    pub(super) fn writer<T: Plain>(&self) -> ColumnWriter<T> {
        ColumnWriter::new(&self.shelf)
    }

    /// A column of what `f` gives for each of the tasks in turn. After every wave `release` is called.
    pub(super) fn map<T: Plain, K: Sync>(
        &self,
        tasks: &[K],
        release: impl Fn(),
        f: impl Fn(&K) -> Vec<T> + Sync,
    ) -> Result<Column<T>> {
        let mut out = self.writer();
        self.waves(tasks, release, f, |part| out.extend(&part))?;
        out.finish()
    }

    /// Calls `f` for tasks, wave by wave, and `sink` with what it gives, in the order of the tasks.
    pub(super) fn waves<R: Send, K: Sync>(
        &self,
        tasks: &[K],
        release: impl Fn(),
        f: impl Fn(&K) -> R + Sync,
        mut sink: impl FnMut(R) -> Result<()>,
    ) -> Result<()> {
        for wave in tasks.chunks(TASKS * rayon::current_num_threads()) {
            self.control.check()?;
            let parts: Vec<R> = wave.par_iter().map(&f).collect();
            parts.into_iter().try_for_each(&mut sink)?;
            release();
        }
        Ok(())
    }

    /// A column of the same length, made number by number.
    pub(super) fn each<T: Plain, U: Plain>(
        &self,
        column: &Column<T>,
        f: impl Fn(T) -> U + Sync,
    ) -> Result<Column<U>> {
        let pieces: Vec<_> = ranges(column.len(), 1 << 16).collect();
        let release = || column.release();
        self.map(&pieces, release, |rows| column[rows.clone()].iter().map(|x| f(*x)).collect())
    }
}

/// Cuts `0..len` into ranges of this size; the last may be smaller.
pub(super) fn ranges(len: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    let size = size.max(1);
    (0..len).step_by(size).map(move |start| start..len.min(start.saturating_add(size)))
}
