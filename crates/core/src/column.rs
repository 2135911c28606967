//! Columns of numbers, in memory or on disk.
//!
//! Whoever writes a column from front to back and then only reads it can have one that does not fit into
//! memory: it is a file, written through a buffer, then mapped. A mapped page counts as memory of the process
//! from its first use on, so whoever reads a column [releases](Column::release) what it is done with; the
//! pages stay in the cache of the system for as long as that has room. Files have no name, so nothing is left
//! behind however the process ends.

use std::fs::File;
use std::io::Write;
use std::marker::PhantomData;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::{Code, Error, Result};

/// Rows that are read before what was read is released: 1 MiB.
const PIECE: usize = 1 << 18;
/// Rows that are written to a file at once: 64 KiB.
const BUFFER: usize = 1 << 14;

/// Four bytes without padding, any of which are a value.
///
/// # Safety
/// An implementor has size 4, an alignment of at most 4, no padding, and is valid for any bits.
pub unsafe trait Plain: Copy + Send + Sync + 'static {}
// SAFETY: four bytes, all of them value, all values allowed.
unsafe impl Plain for u32 {}
// SAFETY: as above; every pattern of bits is a float.
unsafe impl Plain for f32 {}
// SAFETY: as above; two numbers side by side, at an alignment of 2.
unsafe impl Plain for [u16; 2] {}

/// Where new columns are kept.
#[derive(Debug, Clone)]
pub enum Shelf {
    /// In memory.
    Memory,
    /// In files without a name in this directory.
    Disk(Arc<Path>),
}

/// What went wrong with a temporary file in `dir`.
pub fn temporary_error(dir: &Path, action: &str, source: std::io::Error) -> Error {
    let error = Error::io(dir.display().to_string(), action, source);
    match error.code() {
        Code::StorageFull => error.hint("free some space, name another temp_dir or raise memory_limit"),
        Code::NotFound => error.hint("temp_dir must be a directory that exists"),
        _ => error,
    }
}

/// A column that is complete. Clones share it.
///
/// ```
/// use gristmill_core::column::{ColumnWriter, Shelf};
///
/// let mut writer = ColumnWriter::new(&Shelf::Disk(std::env::temp_dir().into()));
/// for row in 0..100_000u32 {
///     writer.push(row)?;
/// }
/// let column = writer.finish()?;
/// assert_eq!(column[70_000], 70_000);
/// column.release();
/// assert_eq!(column.len(), 100_000);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
pub struct Column<T> {
    rows: Arc<Rows<T>>,
}

enum Rows<T> {
    Memory(Vec<T>),
    Disk(Mmap, PhantomData<T>),
}

impl<T> Clone for Column<T> {
    fn clone(&self) -> Self {
        Self { rows: self.rows.clone() }
    }
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T> From<Vec<T>> for Column<T> {
    fn from(rows: Vec<T>) -> Self {
        Self { rows: Arc::new(Rows::Memory(rows)) }
    }
}

impl<T: Plain> std::fmt::Debug for Column<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Column({} rows)", self.len())
    }
}

impl<T: Plain> Deref for Column<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match &*self.rows {
            Rows::Memory(rows) => rows,
            // SAFETY: a map begins at a page, which is aligned for four bytes; its length is rounded down to
            // whole values; and `Plain` types are valid for any bits.
            Rows::Disk(map, _) => unsafe { std::slice::from_raw_parts(map.as_ptr().cast(), map.len() / 4) },
        }
    }
}

impl<T: Plain> Column<T> {
    /// Stops counting as memory of this process until it is read again. Costs nothing in memory.
    pub fn release(&self) {
        #[cfg(unix)]
        if let Rows::Disk(map, _) = &*self.rows {
            // SAFETY: the map is shared and read-only, and nothing writes to the file: a page that is dropped
            // comes back with the same content. Failure leaves the page where it is, which is as good.
            let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
    }

    /// All rows in order, a piece at a time, what was read released.
    pub fn pieces(&self) -> Pieces<'_, T> {
        Pieces { rest: self, of: Some(self) }
    }

    /// All rows in order, what was read released.
    pub fn values(&self) -> impl Iterator<Item = T> {
        self.pieces().flatten().copied()
    }

    /// All rows, in memory.
    pub fn to_vec(&self) -> Vec<T> {
        let mut rows = Vec::with_capacity(self.len());
        self.pieces().for_each(|piece| rows.extend_from_slice(piece));
        rows
    }
}

/// A column, a piece at a time.
pub struct Pieces<'a, T: Plain> {
    rest: &'a [T],
    /// What is released; `None` for rows that somebody else owns.
    of: Option<&'a Column<T>>,
}

impl<'a, T: Plain> Pieces<'a, T> {
    /// The pieces of rows that lie in memory.
    pub fn of(rows: &'a [T]) -> Self {
        Self { rest: rows, of: None }
    }
}

impl<'a, T: Plain> Iterator for Pieces<'a, T> {
    type Item = &'a [T];

    fn next(&mut self) -> Option<&'a [T]> {
        if let Some(column) = self.of {
            column.release();
        }
        let (piece, rest) = self.rest.split_at(self.rest.len().min(PIECE));
        self.rest = rest;
        (!piece.is_empty()).then_some(piece)
    }
}

/// A column that is being written.
pub struct ColumnWriter<T> {
    rows: Vec<T>,
    disk: Option<Disk>,
}

struct Disk {
    dir: Arc<Path>,
    /// Created with the first full buffer.
    file: Option<File>,
    written: usize,
}

impl<T: Plain> ColumnWriter<T> {
    /// A column without rows, which will be kept on `shelf`.
    pub fn new(shelf: &Shelf) -> Self {
        let disk = match shelf {
            Shelf::Memory => None,
            Shelf::Disk(dir) => Some(Disk { dir: dir.clone(), file: None, written: 0 }),
        };
        Self { rows: Vec::new(), disk }
    }

    /// Rows so far.
    #[inline]
    pub fn len(&self) -> usize {
        self.disk.as_ref().map_or(0, |disk| disk.written) + self.rows.len()
    }

    /// Whether there is no row yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a row.
    ///
    /// # Errors
    /// What the system says about the file: [`Code::StorageFull`], [`Code::NotFound`] and others.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<()> {
        self.rows.push(value);
        if self.rows.len() >= BUFFER { self.flush(false) } else { Ok(()) }
    }

    /// Adds rows.
    ///
    /// # Errors
    /// Those of [`push`](Self::push).
    pub fn extend(&mut self, values: &[T]) -> Result<()> {
        self.rows.extend_from_slice(values);
        if self.rows.len() >= BUFFER { self.flush(false) } else { Ok(()) }
    }

    /// Writes the buffer out; what was never more than a buffer stays in memory until the end.
    fn flush(&mut self, last: bool) -> Result<()> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        if self.rows.is_empty() || (last && disk.file.is_none()) {
            return Ok(());
        }
        let file = match &mut disk.file {
            Some(file) => file,
            none => none.insert(
                tempfile::tempfile_in(&disk.dir)
                    .map_err(|e| temporary_error(&disk.dir, "create a temporary file", e))?,
            ),
        };
        // SAFETY: a `Plain` value is four bytes without padding, so all bytes of the rows are initialised.
        let bytes =
            unsafe { std::slice::from_raw_parts(self.rows.as_ptr().cast::<u8>(), self.rows.len() * 4) };
        file.write_all(bytes).map_err(|e| temporary_error(&disk.dir, "write to a temporary file", e))?;
        disk.written += self.rows.len();
        self.rows.clear();
        Ok(())
    }

    /// The column.
    ///
    /// # Errors
    /// Those of [`push`](Self::push).
    pub fn finish(mut self) -> Result<Column<T>> {
        self.flush(true)?;
        match self.disk {
            Some(Disk { dir, file: Some(file), .. }) => {
                // SAFETY: the file has no name and its only handle is dropped here, so nobody can write to it
                // or shorten it while it is mapped.
                let map = unsafe { Mmap::map(&file) }
                    .map_err(|e| temporary_error(&dir, "map a temporary file", e))?;
                Ok(Column { rows: Arc::new(Rows::Disk(map, PhantomData)) })
            }
            _ => Ok(self.rows.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> Shelf {
        Shelf::Disk(std::env::temp_dir().into())
    }

    #[test]
    fn columns_give_back_what_was_written_wherever_they_are() {
        for shelf in [Shelf::Memory, disk()] {
            for rows in [0, 1, BUFFER - 1, BUFFER, BUFFER + 1, 2 * PIECE + 7] {
                let expected: Vec<u32> = (0..rows as u32).map(|i| i.wrapping_mul(2_654_435_761)).collect();
                let mut writer = ColumnWriter::new(&shelf);
                let (head, tail) = expected.split_at(rows / 3);
                head.iter().try_for_each(|x| writer.push(*x)).unwrap();
                writer.extend(tail).unwrap();
                assert_eq!(writer.len(), rows);
                let column = writer.finish().unwrap();
                assert!(column.values().eq(expected.iter().copied()));
                column.release();
                assert_eq!(column[..], expected);
                assert_eq!(column.to_vec(), expected);
            }
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_released_is_no_memory_of_this_process() {
        let rows = 1 << 22;
        let mut writer = ColumnWriter::new(&disk());
        (0..rows).try_for_each(|x| writer.push(x)).unwrap();
        let column = writer.finish().unwrap();
        let address = column.as_ptr() as usize;
        let resident = || {
            let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let entry = maps.split_once(&format!("{address:x}-")).unwrap().1;
            let kib = entry.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
            kib.trim().split(' ').next().unwrap().parse::<u64>().unwrap()
        };
        assert_eq!(column.iter().map(|x| u64::from(*x)).sum::<u64>(), (0..u64::from(rows)).sum::<u64>());
        assert!(resident() > 8 << 10, "{} KiB are resident", resident());
        column.release();
        assert_eq!(resident(), 0);
        assert_eq!(column.values().last(), Some(rows - 1));
        assert!(resident() < 2 << 10, "{} KiB are resident", resident());
    }

    #[test]
    fn an_absent_directory_is_named() {
        let mut writer = ColumnWriter::new(&Shelf::Disk(Path::new("/no/such/place").into()));
        let e = (0..=BUFFER as u32).try_for_each(|x| writer.push(x)).unwrap_err();
        assert_eq!(e.code(), Code::NotFound);
        assert!(e.to_string().contains("/no/such/place"), "{e}");
    }
}
