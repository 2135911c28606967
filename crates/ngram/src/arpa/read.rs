use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use gristmill_core::{Code, Error, Result, ResultExt};
use rayon::slice::ParallelSliceMut;

use crate::model::MAX_ORDER;
use crate::source::Source;
use crate::tables::{OrderTable, Tables};
use crate::vocab::{UNK, Vocab, WordId};

/// No line of a model is longer; a file with longer ones is something else.
const MAX_LINE: u64 = 1 << 20;
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Reads an ARPA file, plain or gzip.
///
/// # Errors
/// [`Code::InvalidModel`] with the row where the file is truncated, damaged or of another kind; those of the
/// file system.
pub fn load(path: impl AsRef<Path>) -> Result<Tables> {
    let path = path.as_ref();
    let shown = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|e| Error::io(&shown, "open the model", e))?;
    let length = file.metadata().map_err(|e| Error::io(&shown, "inspect the model", e))?.len();
    read_source(Source::new(file, length)).map(|(tables, _)| tables).at_path(shown)
}

/// Reads an ARPA file, plain or gzip, that is in memory. See [`load`].
///
/// # Errors
/// [`Code::InvalidModel`] with the row.
pub fn parse(bytes: &[u8]) -> Result<Tables> {
    read_source(Source::new(bytes, bytes.len() as u64)).map(|(tables, _)| tables)
}

/// The tables and the SHA-256 of the file.
pub(crate) fn read_source(mut source: Source<impl Read>) -> Result<(Tables, String)> {
    let tables = if source.peek()?.starts_with(&GZIP) {
        read(BufReader::with_capacity(1 << 18, MultiGzDecoder::new(&mut source)))?
    } else {
        read(&mut source)?
    };
    Ok((tables, source.finish()?))
}

fn read(input: impl BufRead) -> Result<Tables> {
    let mut lines = Lines { input, line: Vec::new(), row: 0 };
    let counts = counts(&mut lines)?;
    let mut vocab = Vocab::new();
    let mut orders = Vec::with_capacity(counts.len());
    for (i, count) in counts.iter().enumerate() {
        orders.push(section(&mut lines, i + 1, counts.len(), *count, &mut vocab)?);
    }
    lines.next_of_content("\\end\\")?;
    if lines.text()? != "\\end\\" {
        return Err(lines.invalid("expected \\end\\"));
    }
    while lines.advance()? {
        if !lines.text()?.trim_ascii().is_empty() {
            return Err(lines.invalid("text after \\end\\"));
        }
    }
    Ok(Tables { vocab, orders })
}

/// Lines of bounded length, numbered.
struct Lines<R> {
    input: R,
    line: Vec<u8>,
    /// Lines read so far.
    row: u64,
}

impl<R: BufRead> Lines<R> {
    /// Reads the next line; `false` at the end of the file.
    fn advance(&mut self) -> Result<bool> {
        self.line.clear();
        let read = (&mut self.input).take(MAX_LINE).read_until(b'\n', &mut self.line);
        let n = read.map_err(|e| self.unreadable(e))?;
        if n as u64 == MAX_LINE {
            self.row += 1;
            return Err(self.invalid("a line too long for an ARPA file"));
        }
        while self.line.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
            self.line.pop();
        }
        self.row += u64::from(n > 0);
        Ok(n > 0)
    }

    /// Reads up to the next line that is not blank.
    fn next_of_content(&mut self, expected: &str) -> Result<()> {
        while self.advance()? {
            if !self.line.trim_ascii().is_empty() {
                return Ok(());
            }
        }
        Err(self.invalid(format!("the file ends before {expected}")))
    }

    fn text(&self) -> Result<&str> {
        std::str::from_utf8(&self.line).map_err(|_| {
            self.invalid("not UTF-8").hint("convert the file, for example with iconv -f latin1 -t utf-8")
        })
    }

    fn invalid(&self, message: impl AsRef<str>) -> Error {
        Error::new(Code::InvalidModel, format!("line {}: {}", self.row, message.as_ref()))
            .at_row(self.row.saturating_sub(1))
    }

    fn unreadable(&self, e: std::io::Error) -> Error {
        use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        let damaged = matches!(e.kind(), InvalidData | InvalidInput | UnexpectedEof);
        let code = if damaged { Code::InvalidModel } else { Code::Io };
        Error::new(code, format!("after line {}: cannot read: {e}", self.row)).at_row(self.row)
    }
}

fn counts(lines: &mut Lines<impl BufRead>) -> Result<Vec<u64>> {
    loop {
        lines.next_of_content("\\data\\")?;
        if !lines.line.starts_with(b"#") {
            break;
        }
    }
    if lines.line != b"\\data\\" {
        return Err(lines
            .invalid("expected \\data\\")
            .hint("a model is a .gml file, an ARPA file (plain or gzip) or a KenLM binary"));
    }
    let mut counts = Vec::new();
    while lines.advance()? {
        let line = lines.text()?;
        if line.trim_ascii().is_empty() {
            break;
        }
        let count = line
            .strip_prefix("ngram ")
            .and_then(|rest| rest.split_once('='))
            .filter(|(n, _)| n.trim_ascii().parse() == Ok(counts.len() + 1))
            .and_then(|(_, count)| count.trim_ascii().parse().ok());
        counts.push(count.ok_or_else(|| {
            lines.invalid(format!("expected \"ngram {}=\" and a number", counts.len() + 1))
        })?);
        if counts.len() > MAX_ORDER {
            return Err(lines.invalid(format!("the order is above {MAX_ORDER}")));
        }
    }
    if counts.is_empty() {
        return Err(lines.invalid("the file announces no n-grams"));
    }
    Ok(counts)
}

fn section(
    lines: &mut Lines<impl BufRead>,
    n: usize,
    highest: usize,
    count: u64,
    vocab: &mut Vocab,
) -> Result<OrderTable> {
    let header = format!("\\{n}-grams:");
    lines.next_of_content(&header)?;
    if lines.text()?.trim_ascii_end() != header {
        return Err(lines.invalid(format!("expected {header}")));
    }
    let mut table = OrderTable::default();
    let first_row = lines.row;
    for _ in 0..count {
        if !lines.advance()? {
            return Err(lines.invalid(format!("the file ends inside {header}")));
        }
        entry(lines, n, n < highest, vocab, &mut table)?;
    }
    sort(n, &mut table, vocab).map_err(|duplicate| {
        let words: Vec<_> = duplicate.iter().map(|id| vocab.word(*id)).collect();
        let message = format!("{header} the n-gram {:?} comes twice", words.join(" "));
        Error::new(Code::InvalidModel, message).at_row(first_row)
    })?;
    Ok(table)
}

fn entry(
    lines: &Lines<impl BufRead>,
    n: usize,
    with_backoff: bool,
    vocab: &mut Vocab,
    table: &mut OrderTable,
) -> Result<()> {
    let mut fields = lines.text()?.split(['\t', ' ']).filter(|field| !field.is_empty());
    let field = fields.next().unwrap_or_default();
    let prob = field.parse().ok().filter(|prob: &f32| *prob <= 0.0);
    let prob = prob.ok_or_else(|| lines.invalid(format!("{field:?} is not the log10 of a probability")))?;
    for _ in 0..n {
        let word = fields.next().ok_or_else(|| lines.invalid(format!("fewer than {n} words")))?;
        table.words.push(word_id(word, n, vocab, lines)?);
    }
    let backoff = match fields.next() {
        Some(field) => {
            let backoff = field.parse().ok().filter(|backoff: &f32| backoff.is_finite());
            backoff.ok_or_else(|| lines.invalid(format!("{field:?} is not a finite backoff")))?
        }
        None => 0.0,
    };
    if let Some(field) = fields.next() {
        return Err(lines.invalid(format!("{field:?} after the end of the n-gram")));
    }
    if with_backoff {
        table.backoff.push(backoff);
    } else if backoff != 0.0 {
        return Err(lines.invalid("an n-gram of the highest order has a backoff"));
    }
    table.prob.push(prob);
    Ok(())
}

fn word_id(word: &str, n: usize, vocab: &mut Vocab, lines: &Lines<impl BufRead>) -> Result<WordId> {
    if word == "<UNK>" {
        return Ok(UNK);
    }
    if n == 1 {
        return Ok(vocab.intern(word));
    }
    vocab.get(word).ok_or_else(|| lines.invalid(format!("the word {word:?} is not among the unigrams")))
}

/// Brings rows into ascending order; `Err` with an n-gram that is there twice.
fn sort(n: usize, table: &mut OrderTable, vocab: &Vocab) -> Result<(), Vec<WordId>> {
    if let Some(order) = ascending(n, &table.words, vocab) {
        let gather = |column: &[f32]| order.iter().filter_map(|row| column.get(*row).copied()).collect();
        *table = OrderTable {
            words: order.iter().flat_map(|row| &table.words[row * n..][..n]).copied().collect(),
            prob: gather(&table.prob),
            backoff: gather(&table.backoff),
        };
    }
    let rows = table.words.chunks_exact(n);
    match rows.clone().zip(rows.skip(1)).find(|(a, b)| a == b) {
        Some((duplicate, _)) => Err(duplicate.to_vec()),
        None => Ok(()),
    }
}

/// The rows in ascending order; `None` when they are in it.
fn ascending(n: usize, words: &[WordId], vocab: &Vocab) -> Option<Vec<usize>> {
    let rows = words.chunks_exact(n);
    if rows.clone().is_sorted() {
        return None;
    }
    let word_bits = u32::BITS - (vocab.len() as u32).leading_zeros();
    let row_bits = usize::BITS - rows.len().leading_zeros();
    if n as u32 * word_bits + row_bits > u128::BITS {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.par_sort_unstable_by_key(|row| &words[row * n..][..n]);
        return Some(order);
    }
    // A row with its number packed into one integer sorts several times as fast as a row behind its number.
    let pack = |(row, words): (usize, &[WordId])| {
        let key = words.iter().fold(0, |key, word| (key << word_bits) | u128::from(*word));
        (key << row_bits) | row as u128
    };
    let mut keys: Vec<u128> = rows.enumerate().map(pack).collect();
    keys.par_sort_unstable();
    let row = |key: u128| (key & ((1 << row_bits) - 1)) as usize;
    Some(keys.into_iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows too wide to pack are sorted in another way, to the same order.
    #[test]
    fn wide_rows_are_sorted_like_narrow_ones() {
        let mut vocab = Vocab::new();
        (0..20_000).for_each(|i| assert!(vocab.intern(&i.to_string()) > 2));
        let mut random = 1u64;
        let mut word = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((random >> 33) % 20_000) as WordId
        };
        for n in [1, 2, 8, 9] {
            let words: Vec<_> = (0..500 * n).map(|_| word()).collect();
            let mut expected: Vec<_> = words.chunks_exact(n).collect();
            expected.sort();
            let order = ascending(n, &words, &vocab).unwrap();
            assert!(order.iter().map(|row| &words[row * n..][..n]).eq(expected.iter().copied()));
            assert!(ascending(n, &expected.concat(), &vocab).is_none());
        }
    }
}
