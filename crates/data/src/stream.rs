//! Sequential bytes: decompression, reading ahead, and splitting into lines.

use std::io::{self, BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use gristmill_core::{Code, Error, Result};

use crate::fault;
use crate::format::Compression;

pub(crate) type BoxRead = Box<dyn Read + Send>;

/// Undoes the compression of `raw`.
pub(crate) fn decompressed(raw: BoxRead, compression: Compression) -> Result<BoxRead> {
    Ok(match compression {
        Compression::None => raw,
        // Compressors of corpora write many members; the single-member decoder would stop at the first.
        Compression::Gzip => {
            Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(256 << 10, raw)))
        }
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(256 << 10, raw))
                .map_err(|e| Error::new(Code::OutOfMemory, format!("cannot start a zstd decoder: {e}")))?;
            Box::new(decoder)
        }
    })
}

/// What to call the layer that an error came from.
pub(crate) fn layer(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "file",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    }
}

const AHEAD_BLOCK: usize = 512 << 10;
const AHEAD_BLOCKS: usize = 4;

/// Reads (and decompresses) on a thread of its own, at most [`AHEAD_BLOCKS`] blocks ahead.
pub(crate) struct ReadAhead {
    blocks: Option<Receiver<io::Result<Vec<u8>>>>,
    spent: Option<SyncSender<Vec<u8>>>,
    current: Vec<u8>,
    pos: usize,
    done: bool,
    thread: Option<JoinHandle<()>>,
}

impl ReadAhead {
    pub(crate) fn new(mut inner: BoxRead) -> io::Result<Self> {
        let (send, blocks) = sync_channel(AHEAD_BLOCKS);
        // Buffers go back and forth: a fresh megabyte costs more in page faults than its decompression.
        let (spent, reuse) = sync_channel::<Vec<u8>>(AHEAD_BLOCKS + 2);
        let thread = std::thread::Builder::new().name("gristmill-read".into()).spawn(move || {
            loop {
                let mut block = reuse.try_recv().unwrap_or_default();
                block.resize(AHEAD_BLOCK, 0);
                let mut filled = 0;
                let end = loop {
                    match inner.read(&mut block[filled..]) {
                        Ok(0) => break Some(None),
                        Ok(n) => filled += n,
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                        Err(e) => break Some(Some(e)),
                    }
                    if filled == block.len() {
                        break None;
                    }
                };
                block.truncate(filled);
                // What came before damage is delivered before the damage is reported.
                if filled > 0 && send.send(Ok(block)).is_err() {
                    return;
                }
                match end {
                    None => {}
                    Some(None) => return,
                    Some(Some(e)) => return drop(send.send(Err(e))),
                }
            }
        })?;
        Ok(Self {
            blocks: Some(blocks),
            spent: Some(spent),
            current: Vec::new(),
            pos: 0,
            done: false,
            thread: Some(thread),
        })
    }
}

impl Read for ReadAhead {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.pos == self.current.len() && !self.done {
            let next = self.blocks.as_ref().and_then(|b| b.recv().ok());
            let old = std::mem::take(&mut self.current);
            self.pos = 0;
            if let Some(spent) = &self.spent {
                let _ = spent.try_send(old);
            }
            match next {
                Some(Ok(block)) => self.current = block,
                Some(Err(e)) => {
                    self.done = true;
                    return Err(e);
                }
                None => {
                    self.done = true;
                    // A clean end and a panic both close the channel: only the thread knows which it was.
                    if self.thread.take().is_some_and(|t| t.join().is_err()) {
                        return Err(io::Error::other("the decompressor panicked"));
                    }
                }
            }
        }
        let n = buf.len().min(self.current.len() - self.pos);
        buf[..n].copy_from_slice(&self.current[self.pos..self.pos + n]);
        self.pos += n;
        Ok(n)
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        // Closing the channel ends the thread at its next block.
        self.blocks = None;
        self.spent = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One line of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Its bytes, without the end-of-line characters.
    Whole(&'a [u8]),
    /// It had more bytes than the limit and was passed over; this many.
    TooLong(u64),
}

const CHUNK: usize = 256 << 10;
/// A buffer that grew for one huge line is given back afterwards.
const KEEP: usize = 8 << 20;

/// Splits a stream into lines, holding no more than the longest of them.
pub(crate) struct Lines<R> {
    inner: R,
    compression: Compression,
    buf: Vec<u8>,
    start: usize,
    end: usize,
    limit: usize,
    next_row: u64,
    at_end: bool,
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(inner: R, compression: Compression, limit: usize) -> Self {
        Self { inner, compression, buf: vec![0; CHUNK], start: 0, end: 0, limit, next_row: 0, at_end: false }
    }

    /// The number of the line that [`Lines::next`] gives next.
    pub(crate) fn next_row(&self) -> u64 {
        self.next_row
    }

    /// The next line, or `None` after the last one.
    pub(crate) fn next(&mut self) -> Result<Option<Line<'_>>> {
        if self.buf.len() > KEEP && self.end - self.start < CHUNK {
            let rest = self.buf[self.start..self.end].to_vec();
            self.buf = vec![0; CHUNK];
            self.buf[..rest.len()].copy_from_slice(&rest);
            (self.start, self.end) = (0, rest.len());
        }
        let mut searched = self.start;
        loop {
            if let Some(i) = memchr::memchr(b'\n', &self.buf[searched..self.end]) {
                let (from, to) = (self.start, searched + i);
                self.start = to + 1;
                return Ok(Some(self.line(from, to)));
            }
            if self.end - self.start > self.limit {
                return self.skip_line().map(Some);
            }
            searched = self.end;
            if self.at_end || self.fill(&mut searched)? == 0 {
                self.at_end = true;
                if self.start == self.end {
                    return Ok(None);
                }
                let (from, to) = (self.start, self.end);
                self.start = self.end;
                return Ok(Some(self.line(from, to)));
            }
        }
    }

    fn line(&mut self, from: usize, to: usize) -> Line<'_> {
        let first = self.next_row == 0;
        self.next_row += 1;
        let mut line = &self.buf[from..to];
        line = line.strip_suffix(b"\r").unwrap_or(line);
        if first {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        Line::Whole(line)
    }

    /// Makes room and reads more; `mark` moves along with the bytes.
    fn fill(&mut self, mark: &mut usize) -> Result<usize> {
        if self.end == self.buf.len() {
            if self.start > 0 {
                self.buf.copy_within(self.start..self.end, 0);
                *mark -= self.start;
                (self.start, self.end) = (0, self.end - self.start);
            }
            if self.end > self.buf.len() / 2 {
                let more = self.buf.len();
                self.buf.try_reserve_exact(more).map_err(|_| {
                    Error::new(Code::OutOfMemory, "no memory for a line of this length").at_row(self.next_row)
                })?;
                self.buf.resize(2 * more, 0);
            }
        }
        self.read_some()
    }

    fn read_some(&mut self) -> Result<usize> {
        loop {
            match self.inner.read(&mut self.buf[self.end..]) {
                Ok(n) => {
                    self.end += n;
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    let what = layer(self.compression);
                    return Err(fault::decompress(what, e).at_row(self.next_row));
                }
            }
        }
    }

    fn skip_line(&mut self) -> Result<Line<'static>> {
        let mut length = 0u64;
        loop {
            if let Some(i) = memchr::memchr(b'\n', &self.buf[self.start..self.end]) {
                length += i as u64;
                self.start += i + 1;
                break;
            }
            length += (self.end - self.start) as u64;
            (self.start, self.end) = (0, 0);
            if self.read_some()? == 0 {
                self.at_end = true;
                break;
            }
        }
        self.next_row += 1;
        Ok(Line::TooLong(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &[u8], limit: usize) -> Vec<String> {
        // One byte at a time: every boundary is met.
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                let n = self.0.len().min(buf.len()).min(1);
                buf[..n].copy_from_slice(&self.0[..n]);
                self.0 = &self.0[n..];
                Ok(n)
            }
        }
        let mut lines = Lines::new(Slow(text), Compression::None, limit);
        let mut out = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            out.push(match line {
                Line::Whole(l) => String::from_utf8(l.to_vec()).unwrap(),
                Line::TooLong(n) => format!("<{n}>"),
            });
        }
        out
    }

    #[test]
    fn splits_as_people_write() {
        assert_eq!(split(b"", 9), Vec::<String>::new());
        assert_eq!(split(b"a\r\n\nb", 9), ["a", "", "b"]);
        assert_eq!(split(b"\xef\xbb\xbfa\n", 9), ["a"]);
        assert_eq!(split(b"\n", 9), [""]);
    }

    #[test]
    fn a_line_over_the_limit_is_passed_over_whole() {
        assert_eq!(split(b"ab\n123456789\ncd\n1234567", 4), ["ab", "<9>", "cd", "<7>"]);
    }

    #[test]
    fn lines_longer_than_a_chunk_come_whole_and_memory_goes_back() {
        let long = "x".repeat(20 << 20);
        let text = format!("a\n{long}\nb\nc\n");
        let mut lines = Lines::new(text.as_bytes(), Compression::None, 1 << 30);
        assert_eq!(lines.next().unwrap(), Some(Line::Whole(b"a")));
        assert_eq!(lines.next().unwrap(), Some(Line::Whole(long.as_bytes())));
        assert_eq!(lines.next().unwrap(), Some(Line::Whole(b"b")));
        assert!(lines.buf.len() <= KEEP);
        assert_eq!(lines.next().unwrap(), Some(Line::Whole(b"c")));
        assert_eq!(lines.next().unwrap(), None);
    }

    #[test]
    fn reading_ahead_changes_nothing() {
        let data: Vec<u8> = (0..5_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut back = Vec::new();
        ReadAhead::new(Box::new(io::Cursor::new(data.clone()))).unwrap().read_to_end(&mut back).unwrap();
        assert!(back == data);
        // Dropped half way, the thread ends.
        let mut half = ReadAhead::new(Box::new(io::repeat(7))).unwrap();
        half.read_exact(&mut [0; 1000]).unwrap();
        drop(half);
    }
}
