use std::io::{BufWriter, Write};
use std::path::Path;

use gristmill_core::hash::{Xxh3, hash64};
use gristmill_core::{Code, Error, Result};
use sha2::{Digest, Sha256};

use super::{Header, MAGIC, MAX_HEADER, VERSION};
use crate::model::ModelMeta;
use crate::replace::replace_file;
use crate::source::hex;
use crate::tables::private::Links;
use crate::tables::{Grams, unwritable};
use crate::vocab::{EOS, Vocab};

/// Writes a model to a file, which appears under its name only when complete and synced. Returns the
/// SHA-256 of the file in lower-case hexadecimal.
///
/// # Errors
/// Those of [`write()`] and of the file system.
pub fn save(tables: &impl Grams, meta: &ModelMeta, path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    let shown = path.display().to_string();
    replace_file(path, |file| write_as(tables, meta, file, &shown))
}

/// Writes a model in the `.gml` format. Returns the SHA-256 of what was written.
///
/// # Errors
/// [`Code::InvalidModel`] when rows do not ascend or an n-gram lacks its context; those of `output`.
pub fn write(tables: &impl Grams, meta: &ModelMeta, output: impl Write) -> Result<String> {
    write_as(tables, meta, output, "output")
}

fn write_as(tables: &impl Grams, meta: &ModelMeta, output: impl Write, shown: &str) -> Result<String> {
    let io = |e: std::io::Error| Error::io(shown, "write the model", e);
    let inner = BufWriter::with_capacity(1 << 20, Hashed { inner: output, sha256: Sha256::new() });
    let mut out = Out { inner, shown };
    let header = Header { words: tables.vocab().len() as u64, counts: tables.counts(), model: meta.clone() };
    let json = serde_json::to_vec(&header)
        .map_err(|e| Error::new(Code::Internal, format!("the header does not serialise: {e}")))?;
    let length = u32::try_from(json.len()).ok().filter(|n| *n <= MAX_HEADER).ok_or_else(|| {
        Error::new(Code::InvalidArgument, format!("metadata of {} bytes is too large", json.len()))
    })?;
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&VERSION.to_le_bytes());
    head.extend_from_slice(&length.to_le_bytes());
    head.extend_from_slice(&json);
    out.put(&head)?;
    out.put(&hash64(0, &head).to_le_bytes())?;

    let mut payload = Section::start(&mut out, vocabulary_length(tables.vocab()))?;
    for word in words(tables.vocab()) {
        payload.varint(word.len() as u64)?;
        payload.put(word.as_bytes())?;
    }
    payload.end()?;
    for (n, rows) in (1..).zip(&header.counts) {
        order(&mut out, tables, n, *rows)?;
    }
    out.inner.flush().map_err(io)?;
    let hashed = out.inner.into_inner().map_err(|e| io(e.into_error()))?;
    Ok(hex(hashed.sha256))
}

/// The words that are written: all but the three that every vocabulary has.
fn words(vocab: &Vocab) -> impl Iterator<Item = &str> {
    vocab.iter().skip(EOS as usize + 1)
}

fn vocabulary_length(vocab: &Vocab) -> u64 {
    words(vocab).map(|word| varint_length(word.len() as u64) + word.len() as u64).sum()
}

/// Writes the section of order `n`. The length of a section comes first, so its links are gone through twice.
fn order(out: &mut Out<impl Write>, grams: &impl Grams, n: usize, rows: u64) -> Result<()> {
    let links = grams.links(n)?;
    let backoffs = if n == grams.counts().len() { 0 } else { rows };
    let mut length = 4 * (rows + backoffs);
    each_link(n, &links, &mut |number| {
        length += varint_length(number);
        Ok(())
    })?;
    let mut payload = Section::start(out, length)?;
    each_link(n, &links, &mut |number| payload.varint(number))?;
    for piece in grams.prob(n).0.chain(grams.backoff(n).0) {
        piece.iter().try_for_each(|x| payload.put(&x.to_le_bytes()))?;
    }
    payload.end()
}

/// The first two columns of order `n`, number by number: the n-grams of each context, then the last words.
fn each_link(n: usize, links: &Links, sink: &mut impl FnMut(u64) -> Result<()>) -> Result<()> {
    let siblings = || {
        let starts = links.start.values().skip(1);
        starts.scan(0, |from, to| Some(u64::from(to - std::mem::replace(from, to))))
    };
    if n > 1 {
        siblings().try_for_each(&mut *sink)?;
    }
    let mut words = links.word.values().enumerate();
    for count in siblings() {
        let mut least = Some(0);
        for (row, word) in words.by_ref().take(count as usize) {
            let gap = least.and_then(|least| word.checked_sub(least));
            let gap = gap.ok_or_else(|| unwritable(n, &format!("row {row} does not ascend")))?;
            sink(u64::from(gap))?;
            least = word.checked_add(1);
        }
    }
    Ok(())
}

/// Where a model is written to, and what that is called in errors.
struct Out<'a, W: Write> {
    inner: BufWriter<Hashed<W>>,
    shown: &'a str,
}

impl<W: Write> Out<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.inner.write_all(bytes).map_err(|e| Error::io(self.shown, "write the model", e))
    }
}

/// A section that is being written, between its length and its checksum.
struct Section<'a, 'b, W: Write> {
    out: &'a mut Out<'b, W>,
    sum: Xxh3,
    /// What is not in `sum` yet: a checksum takes large pieces faster than small ones.
    buffer: Vec<u8>,
    left: u64,
}

impl<'a, 'b, W: Write> Section<'a, 'b, W> {
    const BUFFER: usize = 1 << 16;

    fn start(out: &'a mut Out<'b, W>, length: u64) -> Result<Self> {
        let mut section = Self { out, sum: Xxh3::new(), buffer: Vec::with_capacity(Self::BUFFER), left: 8 };
        section.put(&length.to_le_bytes())?;
        section.left = length;
        Ok(section)
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > Self::BUFFER {
            self.flush()?;
        }
        self.buffer.extend_from_slice(bytes);
        self.left = self.left.wrapping_sub(bytes.len() as u64);
        Ok(())
    }

    #[inline]
    fn varint(&mut self, mut value: u64) -> Result<()> {
        while value >= 0x80 {
            self.put(&[value as u8 | 0x80])?;
            value >>= 7;
        }
        self.put(&[value as u8])
    }

    fn flush(&mut self) -> Result<()> {
        self.sum.update(&self.buffer);
        self.out.put(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn end(mut self) -> Result<()> {
        self.flush()?;
        if self.left != 0 {
            return Err(Error::new(Code::Internal, "a section is not as long as was announced"));
        }
        self.out.put(&self.sum.digest().to_le_bytes())
    }
}

/// Bytes of a number as varint.
fn varint_length(value: u64) -> u64 {
    u64::from(u64::BITS - (value | 1).leading_zeros()).div_ceil(7)
}

struct Hashed<W> {
    inner: W,
    sha256: Sha256,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(buf)?;
        self.sha256.update(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
