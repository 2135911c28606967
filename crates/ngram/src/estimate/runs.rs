//! Sorted runs of windows on disk, and their merge.
//!
//! A record is a byte (words shared with the record before in bits 0 to 2, words in bits 3 to 5, whether
//! the count is 1 in bit 6), the words that are not shared as LEB128 and the count as LEB128 unless it is
//! 1: on text about nine bytes a window of order 5. Files have no name, so nothing is left behind however
//! the process ends.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use gristmill_core::{Control, Error, Result};

use super::window::{MAX_ORDER, Window};
use gristmill_core::column::temporary_error;

/// No record is longer: a head, six words of five bytes, a count of ten.
const MAX_RECORD: usize = 1 + MAX_ORDER * 5 + 10;
const ONCE: u8 = 1 << 6;

/// The sorted runs of one estimation.
pub(super) struct Runs {
    place: Place,
    /// Runs that are merged at once.
    fan_in: usize,
    runs: Vec<Run>,
    written: u64,
}

struct Place {
    order: usize,
    dir: PathBuf,
    /// Bytes that are written or read at once.
    buffer: usize,
}

struct Run {
    file: File,
    /// How many merges made it.
    level: u32,
}

impl Runs {
    pub(super) fn new(order: usize, dir: &Path, memory: usize) -> Self {
        let fan_in = (memory >> 16).clamp(4, 64);
        let buffer = (memory / (2 * fan_in)).clamp(1 << 12, 1 << 20);
        let place = Place { order, dir: dir.to_path_buf(), buffer };
        Self { place, fan_in, runs: Vec::new(), written: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// How many runs were spilled; those that merges made are not counted.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Writes one run: `fill` gives windows in ascending order to the sink that it gets.
    pub(super) fn spill(
        &mut self,
        fill: impl FnOnce(&mut (dyn FnMut(&Window, u64) -> Result<()> + Send)) -> Result<()>,
    ) -> Result<()> {
        let mut writer = RunWriter::create(&self.place)?;
        fill(&mut |window, count| writer.push(window, count))?;
        let file = writer.finish()?;
        self.runs.push(Run { file, level: 0 });
        self.written += 1;
        // Merging as many as a merge takes, level by level, keeps the number of open files logarithmic and
        // rewrites a record once a level.
        while let Some(level) = self.runs.last().map(|run| run.level) {
            let start = self.runs.partition_point(|run| run.level > level);
            if self.runs.len() - start < self.fan_in {
                break;
            }
            self.merge_last(self.runs.len() - start)?;
        }
        Ok(())
    }

    /// All windows of all runs in ascending order, the counts of equal ones added up.
    pub(super) fn merge(
        mut self,
        control: &Control,
        sink: &mut impl FnMut(&Window, u64) -> Result<()>,
    ) -> Result<()> {
        while self.runs.len() > self.fan_in {
            control.check()?;
            // The last runs are the smallest. This many leave no more than one merge can take.
            self.merge_last((self.runs.len() - self.fan_in + 1).min(self.fan_in))?;
        }
        let mut records = 0u64;
        merge_runs(&self.place, self.runs, &mut |window, count| {
            records += 1;
            if records.is_multiple_of(1 << 16) {
                control.check()?;
            }
            sink(window, count)
        })
    }

    fn merge_last(&mut self, n: usize) -> Result<()> {
        let runs = self.runs.split_off(self.runs.len() - n);
        let level = runs.iter().map(|run| run.level).max().unwrap_or(0) + 1;
        let mut writer = RunWriter::create(&self.place)?;
        merge_runs(&self.place, runs, &mut |window, count| writer.push(window, count))?;
        let file = writer.finish()?;
        self.runs.push(Run { file, level });
        Ok(())
    }
}

fn merge_runs(
    place: &Place,
    runs: Vec<Run>,
    sink: &mut impl FnMut(&Window, u64) -> Result<()>,
) -> Result<()> {
    let mut readers = Vec::with_capacity(runs.len());
    let mut heap = BinaryHeap::with_capacity(runs.len());
    for run in runs {
        let mut reader = RunReader::open(place, run)?;
        if let Some(count) = reader.next()? {
            heap.push(Reverse((reader.window, readers.len(), count)));
        }
        readers.push(reader);
    }
    let mut pending: Option<(Window, u64)> = None;
    while let Some(mut top) = heap.peek_mut() {
        let Reverse((window, from, count)) = *top;
        match readers[from].next()? {
            Some(count) => *top = Reverse((readers[from].window, from, count)),
            None => drop(PeekMut::pop(top)),
        }
        match &mut pending {
            Some((last, sum)) if *last == window => *sum += count,
            _ => {
                if let Some((window, count)) = pending.replace((window, count)) {
                    sink(&window, count)?;
                }
            }
        }
    }
    pending.map_or(Ok(()), |(window, count)| sink(&window, count))
}

impl Place {
    fn error(&self, action: &str, source: std::io::Error) -> Error {
        temporary_error(&self.dir, action, source)
    }
}

struct RunWriter<'a> {
    place: &'a Place,
    file: File,
    buffer: Vec<u8>,
    last: Window,
}

impl<'a> RunWriter<'a> {
    fn create(place: &'a Place) -> Result<Self> {
        let file =
            tempfile::tempfile_in(&place.dir).map_err(|e| place.error("create a temporary file", e))?;
        // No window begins like this one, so the first record shares nothing with it.
        let last = Window([u32::MAX; MAX_ORDER]);
        Ok(Self { place, file, buffer: Vec::with_capacity(place.buffer + MAX_RECORD), last })
    }

    fn push(&mut self, window: &Window, count: u64) -> Result<()> {
        let len = window.len(self.place.order);
        let shared = window.0[..len].iter().zip(&self.last.0).take_while(|(a, b)| a == b).count();
        let once = if count == 1 { ONCE } else { 0 };
        self.buffer.push(shared as u8 | (len as u8) << 3 | once);
        for word in &window.0[shared..len] {
            put(&mut self.buffer, u64::from(*word));
        }
        if count != 1 {
            put(&mut self.buffer, count);
        }
        self.last = *window;
        if self.buffer.len() >= self.place.buffer {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_all(&self.buffer).map_err(|e| self.place.error("write counts", e))?;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<File> {
        self.flush()?;
        self.file.rewind().map_err(|e| self.place.error("rewind counts", e))?;
        Ok(self.file)
    }
}

struct RunReader<'a> {
    place: &'a Place,
    file: File,
    buffer: Vec<u8>,
    at: usize,
    ended: bool,
    window: Window,
}

impl<'a> RunReader<'a> {
    fn open(place: &'a Place, run: Run) -> Result<Self> {
        let window = Window([0; MAX_ORDER]);
        Ok(Self { place, file: run.file, buffer: Vec::new(), at: 0, ended: false, window })
    }

    /// Reads the next record into `window`; its count, or `None` after the last.
    fn next(&mut self) -> Result<Option<u64>> {
        if self.buffer.len() - self.at < MAX_RECORD && !self.ended {
            self.fill()?;
        }
        if self.at == self.buffer.len() {
            return Ok(None);
        }
        self.decode()
            .map(Some)
            .ok_or_else(|| self.place.error("read counts back", std::io::ErrorKind::UnexpectedEof.into()))
    }

    fn decode(&mut self) -> Option<u64> {
        let head = self.take()?;
        let (shared, len) = (usize::from(head & 7), usize::from(head >> 3 & 7));
        for d in shared..len {
            self.window.0[d] = self.get()? as u32;
        }
        self.window.0[len..].fill(0);
        if head & ONCE != 0 { Some(1) } else { self.get() }
    }

    #[inline]
    fn take(&mut self) -> Option<u8> {
        let byte = *self.buffer.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    fn get(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// Moves what is left to the front and reads up to one buffer more.
    fn fill(&mut self) -> Result<()> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let want = self.place.buffer as u64;
        let got = (&self.file).take(want).read_to_end(&mut self.buffer);
        let got = got.map_err(|e| self.place.error("read counts back", e))?;
        self.ended = (got as u64) < want;
        Ok(())
    }
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use gristmill_core::Code;

    use super::*;

    fn window(words: &[u32]) -> Window {
        let mut w = [0; MAX_ORDER];
        w[..words.len()].copy_from_slice(words);
        Window(w)
    }

    fn runs(fan_in: usize) -> Runs {
        let place = Place { order: 3, dir: std::env::temp_dir(), buffer: 64 };
        Runs { place, fan_in, runs: Vec::new(), written: 0 }
    }

    #[test]
    fn what_goes_in_comes_out_merged_whatever_the_number_of_runs() {
        let mut all = std::collections::BTreeMap::<Window, u64>::new();
        let mut spool = runs(3);
        for r in 0..23u32 {
            let mut one = std::collections::BTreeMap::<Window, u64>::new();
            for i in 0..50 {
                let x = (r + 1).wrapping_mul(2_654_435_761).wrapping_mul(i + 1);
                let w = match x >> 30 {
                    0 => window(&[x % 7 + 3, 2]),
                    1 => window(&[2]),
                    2 => window(&[x % 5 + 3, x % 3 + 3, u32::MAX - x % 2]),
                    _ => window(&[x % 100_000 + 3, 0, 0]),
                };
                *one.entry(w).or_default() += if x % 3 == 0 { u64::from(x) << 31 } else { 1 };
            }
            spool
                .spill(|sink| one.iter().try_for_each(|(w, n)| sink(w, *n)))
                .unwrap_or_else(|e| panic!("{e}"));
            assert!(spool.runs.len() <= 3 * 3, "{} files are open", spool.runs.len());
            for (w, n) in one {
                *all.entry(w).or_default() += n;
            }
        }
        assert_eq!(spool.written(), 23);
        let mut merged = Vec::new();
        spool
            .merge(&Control::default(), &mut |w, n| {
                merged.push((*w, n));
                Ok(())
            })
            .unwrap();
        assert_eq!(merged, all.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_run_that_lost_its_end_is_an_error() {
        let mut spool = runs(4);
        spool.spill(|sink| sink(&window(&[300, 400, 500]), 9)).unwrap();
        let size = spool.runs[0].file.metadata().unwrap().len();
        spool.runs[0].file.set_len(size - 1).unwrap();
        let e = spool.merge(&Control::default(), &mut |_, _| Ok(())).unwrap_err();
        assert_eq!(e.code(), Code::Io);
    }

    #[test]
    fn an_absent_directory_is_named() {
        let mut spool = runs(4);
        spool.place.dir = "/no/such/place".into();
        let e = spool.spill(|_| Ok(())).unwrap_err();
        assert_eq!(e.code(), Code::NotFound);
        assert!(e.to_string().contains("/no/such/place"), "{e}");
    }
}
