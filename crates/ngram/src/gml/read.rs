use std::io::Read;
use std::path::Path;

use gristmill_core::hash::{Xxh3, hash64};
use gristmill_core::{Code, Error, Result, ResultExt};

use super::{Header, MAGIC, MAX_HEADER, VERSION};
use crate::model::{Builder, Lexicon, MAX_ORDER, Model, ModelMeta};
use crate::source::Source;
use crate::tables::{OrderTable, Tables};
use crate::vocab::{EOS, Vocab, WordId};

/// Reads the tables of a `.gml` file, to write them in another form or to build on them. To score with a
/// model, [`Model::load`] needs less memory.
///
/// # Errors
/// [`Code::InvalidModel`] with the offset where the file is truncated, damaged or of another kind; those of
/// the file system.
pub fn load(path: impl AsRef<Path>) -> Result<(Tables, ModelMeta)> {
    let path = path.as_ref();
    let shown = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|e| Error::io(&shown, "open the model", e))?;
    let length = file.metadata().map_err(|e| Error::io(&shown, "inspect the model", e))?.len();
    read(Source::new(file, length)).at_path(shown)
}

/// Reads the tables of a `.gml` file that is in memory. See [`load`].
///
/// # Errors
/// [`Code::InvalidModel`] with the offset.
pub fn parse(bytes: &[u8]) -> Result<(Tables, ModelMeta)> {
    read(Source::new(bytes, bytes.len() as u64))
}

fn read(mut source: Source<impl Read>) -> Result<(Tables, ModelMeta)> {
    let header = header(&mut source)?;
    let vocab = vocabulary(&mut source, header.words)?;
    let mut orders: Vec<OrderTable> = Vec::new();
    for n in 1..=header.counts.len() {
        let rows = order(&mut source, n, &header, orders.last())?;
        orders.push(rows);
    }
    source.finish()?;
    Ok((Tables { vocab, orders }, header.model))
}

/// Reads a model, holding the rows of no more than two orders at a time.
pub(crate) fn read_model(mut source: Source<impl Read>) -> Result<Model> {
    let header = header(&mut source)?;
    let vocab = vocabulary(&mut source, header.words)?;
    let mut builder = Builder::new(header.counts.len(), vocab.len())?;
    let mut previous = None;
    for n in 1..=header.counts.len() {
        let start = source.offset();
        let rows = order(&mut source, n, &header, previous.as_ref())?;
        builder.add_order(n, &rows).map_err(|e| e.at_offset(start))?;
        previous = Some(rows);
    }
    let sha256 = source.finish()?;
    Ok(builder.finish(Lexicon::Text(vocab), header.model, Some(sha256)))
}

fn header(source: &mut Source<impl Read>) -> Result<Header> {
    let mut head = source.bytes(16, "the header")?;
    if head[..8] != MAGIC {
        return Err(Error::new(Code::InvalidModel, "not a .gml file").at_offset(0));
    }
    let field = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
    let (version, length) = (field(8), field(12));
    if version != VERSION {
        let message = format!("version {version} of .gml, this build reads version {VERSION}");
        return Err(Error::new(Code::InvalidModel, message).at_offset(8));
    }
    if length > MAX_HEADER {
        return Err(Error::new(Code::InvalidModel, format!("a header of {length} bytes")).at_offset(12));
    }
    head.append(&mut source.bytes(length.into(), "the header")?);
    let sum = u64::from_le_bytes(source.array("the header")?);
    if sum != hash64(0, &head) {
        return Err(Error::new(Code::InvalidModel, "the checksum of the header is wrong").at_offset(0));
    }
    let invalid = |what: String| Error::new(Code::InvalidModel, what).at_offset(16);
    let header: Header =
        serde_json::from_slice(&head[16..]).map_err(|e| invalid(format!("the header: {e}")))?;
    if !(1..=MAX_ORDER).contains(&header.counts.len()) {
        return Err(invalid(format!("order {} is not in 1..={MAX_ORDER}", header.counts.len())));
    }
    // Every word and every n-gram takes bytes of the file, so a count beyond them is a lie.
    let total = header.counts.iter().try_fold(header.words, |sum, n| sum.checked_add(*n));
    if header.words <= u64::from(EOS)
        || header.words >= u64::from(u32::MAX)
        || total.is_none_or(|n| n > source.remaining())
    {
        let message = format!("{} words and {:?} n-grams cannot be", header.words, header.counts);
        return Err(invalid(message));
    }
    Ok(header)
}

/// The payload of a section with its checksum verified, and where it starts.
fn section(source: &mut Source<impl Read>, what: &str) -> Result<(Vec<u8>, u64)> {
    let length: [u8; 8] = source.array(what)?;
    let start = source.offset();
    let payload = source.bytes(u64::from_le_bytes(length), what)?;
    let mut sum = Xxh3::new();
    sum.update(&length);
    sum.update(&payload);
    if u64::from_le_bytes(source.array(what)?) != sum.digest() {
        let message = format!("the checksum of {what} is wrong");
        return Err(Error::new(Code::InvalidModel, message).at_offset(start));
    }
    Ok((payload, start))
}

fn vocabulary(source: &mut Source<impl Read>, words: u64) -> Result<Vocab> {
    let (payload, start) = section(source, "the vocabulary")?;
    let mut columns = Columns { payload: &payload, at: 0, start };
    let mut vocab = Vocab::new();
    for id in u64::from(EOS) + 1..words {
        let length = columns.varint()?;
        let bytes = columns.take(length)?;
        let word = std::str::from_utf8(bytes).map_err(|_| columns.invalid("a word is not UTF-8"))?;
        if u64::from(vocab.intern(word)) != id {
            return Err(columns.invalid("a word comes twice"));
        }
    }
    columns.finish()?;
    Ok(vocab)
}

fn order(
    source: &mut Source<impl Read>,
    n: usize,
    header: &Header,
    contexts: Option<&OrderTable>,
) -> Result<OrderTable> {
    let (payload, start) = section(source, "an n-gram table")?;
    let mut columns = Columns { payload: &payload, at: 0, start };
    let rows = header.counts[n - 1] as usize;
    let with_backoff = n < header.counts.len();
    // A row takes one byte for its word and four for each number.
    let least = (rows as u64).checked_mul(if with_backoff { 9 } else { 5 });
    if least.is_none_or(|least| least > payload.len() as u64) {
        return Err(columns.invalid("more n-grams are announced than there are bytes"));
    }
    let mut table = OrderTable::default();
    reserve(&mut table.words, rows, n)?;
    reserve(&mut table.prob, rows, 1)?;
    let mut children = Vec::new();
    match contexts {
        None => children.push(rows as u64),
        Some(contexts) => {
            reserve(&mut children, contexts.len(), 1)?;
            for _ in 0..contexts.len() {
                children.push(columns.varint()?);
            }
        }
    }
    if children.iter().try_fold(0u64, |sum, c| sum.checked_add(*c)) != Some(rows as u64) {
        return Err(columns.invalid("the contexts do not add up to the n-grams"));
    }
    for (context, count) in children.iter().enumerate() {
        let context = contexts.map_or(&[][..], |c| &c.words[context * (n - 1)..][..n - 1]);
        let mut least = 0;
        for _ in 0..*count {
            let word = columns.varint()?.checked_add(least).filter(|w| *w < header.words);
            let word = word.ok_or_else(|| columns.invalid("a word id is out of range"))?;
            table.words.extend_from_slice(context);
            table.words.push(word as WordId);
            least = word + 1;
        }
    }
    table.prob.extend(columns.floats(rows)?);
    if with_backoff {
        reserve(&mut table.backoff, rows, 1)?;
        table.backoff.extend(columns.floats(rows)?);
    }
    columns.finish()?;
    Ok(table)
}

fn reserve<T>(column: &mut Vec<T>, rows: usize, width: usize) -> Result<()> {
    rows.checked_mul(width)
        .and_then(|n| column.try_reserve_exact(n).ok())
        .ok_or_else(|| Error::new(Code::OutOfMemory, format!("no memory for {rows} n-grams")))
}

/// A cursor over a payload.
struct Columns<'a> {
    payload: &'a [u8],
    at: usize,
    start: u64,
}

impl<'a> Columns<'a> {
    fn invalid(&self, message: &str) -> Error {
        Error::new(Code::InvalidModel, message).at_offset(self.start + self.at as u64)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8]> {
        let rest = &self.payload[self.at..];
        let taken = usize::try_from(length).ok().and_then(|n| rest.get(..n));
        let taken = taken.ok_or_else(|| self.invalid("a section ends too early"))?;
        self.at += taken.len();
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.invalid("a number of more than 64 bits"))
    }

    fn floats(&mut self, count: usize) -> Result<impl Iterator<Item = f32> + use<'a>> {
        let bytes = self.take(count as u64 * 4)?;
        Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))))
    }

    fn finish(&self) -> Result<()> {
        if self.at < self.payload.len() {
            return Err(self.invalid("a section is longer than its content"));
        }
        Ok(())
    }
}
