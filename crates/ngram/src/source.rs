//! Model files as input: every byte is counted, hashed and bounded by the length of the file.

use std::io::{BufRead, BufReader, Read};

use gristmill_core::{Code, Error, Result};
use sha2::{Digest, Sha256};

/// A reader that knows its offset, how much is left and the SHA-256 of what it gave.
///
/// No length that a file claims is believed beyond the bytes that the file has: [`bytes`](Self::bytes)
/// checks before it allocates.
pub(crate) struct Source<R: Read> {
    inner: BufReader<Hashing<R>>,
    offset: u64,
    length: u64,
}

struct Hashing<R> {
    inner: R,
    sha256: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.sha256.update(&buf[..n]);
        Ok(n)
    }
}

impl<R: Read> Source<R> {
    pub(crate) fn new(inner: R, length: u64) -> Self {
        let inner = BufReader::with_capacity(1 << 20, Hashing { inner, sha256: Sha256::new() });
        Self { inner, offset: 0, length }
    }

    /// The first bytes, unread: as many as the file and the buffer hold.
    pub(crate) fn peek(&mut self) -> Result<&[u8]> {
        self.inner.fill_buf().map_err(|e| Error::new(Code::Io, format!("cannot read: {e}")))
    }

    /// Bytes read so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes left.
    pub(crate) fn remaining(&self) -> u64 {
        self.length.saturating_sub(self.offset)
    }

    /// An error of the file's content, at the current offset.
    pub(crate) fn invalid(&self, message: impl Into<String>) -> Error {
        Error::new(Code::InvalidModel, message).at_offset(self.offset)
    }

    /// Checks that `bytes` more are there, before anything is allocated for them.
    pub(crate) fn expect(&self, bytes: u64, what: &str) -> Result<()> {
        if bytes > self.remaining() {
            let message =
                format!("the file ends inside {what}: {bytes} bytes expected, {} left", self.remaining());
            return Err(self.invalid(message));
        }
        Ok(())
    }

    /// Fills `buf`.
    pub(crate) fn fill(&mut self, buf: &mut [u8], what: &str) -> Result<()> {
        self.expect(buf.len() as u64, what)?;
        self.inner.read_exact(buf).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => self.invalid(format!("the file ends inside {what}")),
            _ => Error::new(Code::Io, format!("cannot read {what}: {e}")).at_offset(self.offset),
        })?;
        self.offset += buf.len() as u64;
        Ok(())
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut buf = [0; N];
        self.fill(&mut buf, what)?;
        Ok(buf)
    }

    /// The next `length` bytes.
    pub(crate) fn bytes(&mut self, length: u64, what: &str) -> Result<Vec<u8>> {
        self.expect(length, what)?;
        let mut buf = Vec::new();
        usize::try_from(length)
            .ok()
            .and_then(|n| buf.try_reserve_exact(n).ok().map(|()| buf.resize(n, 0)))
            .ok_or_else(|| Error::new(Code::OutOfMemory, format!("no memory for {what}, {length} bytes")))?;
        self.fill(&mut buf, what)?;
        Ok(buf)
    }

    /// Skips `length` bytes.
    pub(crate) fn skip(&mut self, length: u64, what: &str) -> Result<()> {
        self.each_block(length, 1, what, |_| Ok(()))
    }

    /// Hands the next `length` bytes to `f` in pieces of whole `unit`s; `length` must be a multiple.
    pub(crate) fn each_block(
        &mut self,
        length: u64,
        unit: usize,
        what: &str,
        mut f: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        self.expect(length, what)?;
        let mut block = vec![0; (1 << 16) / unit * unit];
        let mut left = length;
        while left > 0 {
            let n = left.min(block.len() as u64) as usize;
            let at = self.offset;
            self.fill(&mut block[..n], what)?;
            f(&block[..n]).map_err(|e| e.at_offset(at))?;
            left -= n as u64;
        }
        Ok(())
    }

    /// The hash of the file, which must end here.
    pub(crate) fn finish(mut self) -> Result<String> {
        if !self.peek()?.is_empty() {
            return Err(self.invalid("there are bytes after the end of the model"));
        }
        Ok(hex(self.inner.into_inner().sha256))
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.offset += n as u64;
        Ok(n)
    }
}

impl<R: Read> BufRead for Source<R> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        self.inner.consume(n);
        self.offset += n as u64;
    }
}

/// A hash in lower-case hexadecimal.
pub(crate) fn hex(sha256: Sha256) -> String {
    sha256.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
