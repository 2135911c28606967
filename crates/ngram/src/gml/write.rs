use std::io::{BufWriter, Write};
use std::path::Path;

use gristmill_core::hash::{Xxh3, hash64};
use gristmill_core::{Code, Error, Result};
use sha2::{Digest, Sha256};

use super::{Header, MAGIC, MAX_HEADER, VERSION};
use crate::model::ModelMeta;
use crate::replace::replace_file;
use crate::source::hex;
use crate::tables::{OrderTable, Tables};
use crate::vocab::{EOS, WordId};

/// Writes a model to a file, which appears under its name only when complete and synced. Returns the
/// SHA-256 of the file in lower-case hexadecimal.
///
/// # Errors
/// Those of [`write()`] and of the file system.
pub fn save(tables: &Tables, meta: &ModelMeta, path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    let shown = path.display().to_string();
    replace_file(path, |file| write_as(tables, meta, file, &shown))
}

/// Writes a model in the `.gml` format. Returns the SHA-256 of what was written.
///
/// # Errors
/// [`Code::InvalidModel`] when rows do not ascend or an n-gram lacks its context; those of `output`.
pub fn write(tables: &Tables, meta: &ModelMeta, output: impl Write) -> Result<String> {
    write_as(tables, meta, output, "output")
}

fn write_as(tables: &Tables, meta: &ModelMeta, output: impl Write, shown: &str) -> Result<String> {
    let io = |e: std::io::Error| Error::io(shown, "write the model", e);
    let mut out = BufWriter::with_capacity(1 << 20, Hashed { inner: output, sha256: Sha256::new() });
    let header = Header {
        words: tables.vocab.len() as u64,
        counts: tables.orders.iter().map(|rows| rows.len() as u64).collect(),
        model: meta.clone(),
    };
    let json = serde_json::to_vec(&header)
        .map_err(|e| Error::new(Code::Internal, format!("the header does not serialise: {e}")))?;
    let length = u32::try_from(json.len()).ok().filter(|n| *n <= MAX_HEADER).ok_or_else(|| {
        Error::new(Code::InvalidArgument, format!("metadata of {} bytes is too large", json.len()))
    })?;
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&VERSION.to_le_bytes());
    head.extend_from_slice(&length.to_le_bytes());
    head.extend_from_slice(&json);
    out.write_all(&head).map_err(io)?;
    out.write_all(&hash64(0, &head).to_le_bytes()).map_err(io)?;

    section(&mut out, &vocabulary(tables)).map_err(io)?;
    for n in 1..=tables.orders.len() {
        let contexts = (n > 1).then(|| &tables.orders[n - 2]);
        let payload = order(n, tables.orders.len(), &tables.orders[n - 1], contexts)?;
        section(&mut out, &payload).map_err(io)?;
    }
    out.flush().map_err(io)?;
    let hashed = out.into_inner().map_err(|e| io(e.into_error()))?;
    Ok(hex(hashed.sha256))
}

fn section(out: &mut impl Write, payload: &[u8]) -> std::io::Result<()> {
    let length = (payload.len() as u64).to_le_bytes();
    let mut sum = Xxh3::new();
    sum.update(&length);
    sum.update(payload);
    out.write_all(&length)?;
    out.write_all(payload)?;
    out.write_all(&sum.digest().to_le_bytes())
}

fn vocabulary(tables: &Tables) -> Vec<u8> {
    let mut payload = Vec::new();
    for word in tables.vocab.iter().skip(EOS as usize + 1) {
        varint(&mut payload, word.len() as u64);
        payload.extend_from_slice(word.as_bytes());
    }
    payload
}

fn order(n: usize, highest: usize, rows: &OrderTable, contexts: Option<&OrderTable>) -> Result<Vec<u8>> {
    let backoffs = if n == highest { 0 } else { rows.len() };
    if rows.words.len() != rows.len() * n || rows.backoff.len() != backoffs {
        return Err(invalid(n, "its columns differ in length"));
    }
    let mut payload = Vec::with_capacity(rows.len() * 11);
    let mut row = 0;
    let mut words = Vec::with_capacity(rows.len() * 2);
    match contexts {
        None => siblings(&mut words, n, rows, 0..rows.len())?,
        Some(contexts) => {
            for context in contexts.words.chunks_exact(n - 1) {
                let start = row;
                while row < rows.len() && rows.words[row * n..][..n - 1] == *context {
                    row += 1;
                }
                varint(&mut payload, (row - start) as u64);
                siblings(&mut words, n, rows, start..row)?;
            }
            if row < rows.len() {
                return Err(invalid(n, &format!("row {row} is out of order or lacks its context")));
            }
        }
    }
    payload.append(&mut words);
    for column in [&rows.prob, &rows.backoff] {
        payload.extend(column.iter().flat_map(|x| x.to_le_bytes()));
    }
    Ok(payload)
}

/// The last words of the n-grams that share one context.
fn siblings(out: &mut Vec<u8>, n: usize, rows: &OrderTable, range: std::ops::Range<usize>) -> Result<()> {
    let mut previous: Option<WordId> = None;
    for row in range {
        let word = rows.words[row * n + n - 1];
        let gap = match previous {
            None => Some(word),
            Some(p) => word.checked_sub(p).and_then(|gap| gap.checked_sub(1)),
        };
        let gap = gap.ok_or_else(|| invalid(n, &format!("row {row} does not ascend")))?;
        varint(out, u64::from(gap));
        previous = Some(word);
    }
    Ok(())
}

fn invalid(n: usize, what: &str) -> Error {
    Error::new(Code::InvalidModel, format!("the {n}-gram table cannot be written: {what}"))
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
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
