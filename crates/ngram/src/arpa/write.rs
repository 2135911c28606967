use std::io::{BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use gristmill_core::{Code, Error, Result};

use crate::replace::replace_file;
use crate::tables::Tables;

/// Writes an ARPA file, compressed when its name ends in `.gz`. It appears under its name only when it is
/// complete and synced.
///
/// # Errors
/// Those of [`write()`] and of the file system.
pub fn save(tables: &Tables, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let shown = path.display().to_string();
    replace_file(path, |file| {
        if path.extension().is_some_and(|e| e == "gz") {
            let mut gzip = GzEncoder::new(file, Compression::default());
            write_as(tables, &mut gzip, &shown)?;
            gzip.finish().map(|_| ()).map_err(|e| Error::io(&shown, "write the model", e))
        } else {
            write_as(tables, file, &shown)
        }
    })
}

/// Writes a model as ARPA text. Numbers have as many digits as it takes to read the same ones again.
///
/// # Errors
/// [`Code::Unsupported`] when a word is empty or has white space in it, which ARPA cannot express; those of
/// `output`.
pub fn write(tables: &Tables, output: impl Write) -> Result<()> {
    write_as(tables, output, "output")
}

fn write_as(tables: &Tables, output: impl Write, shown: &str) -> Result<()> {
    if let Some(word) = tables.vocab.iter().find(|w| w.is_empty() || w.contains(['\t', '\n', '\r', ' '])) {
        let message = format!("the word {word:?} cannot be written to an ARPA file");
        return Err(Error::new(Code::Unsupported, message).hint("save the model as .gml"));
    }
    let mut out = BufWriter::with_capacity(1 << 20, output);
    write_text(tables, &mut out).map_err(|e| Error::io(shown, "write the model", e))
}

fn write_text(tables: &Tables, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "\\data\\")?;
    for (i, rows) in tables.orders.iter().enumerate() {
        writeln!(out, "ngram {}={}", i + 1, rows.len())?;
    }
    for (i, rows) in tables.orders.iter().enumerate() {
        write!(out, "\n\\{}-grams:\n", i + 1)?;
        for (row, words) in rows.words.chunks_exact(i + 1).enumerate() {
            write!(out, "{}", positive_zero(rows.prob[row]))?;
            for (j, word) in words.iter().enumerate() {
                out.write_all(if j == 0 { b"\t" } else { b" " })?;
                out.write_all(tables.vocab.word(*word).as_bytes())?;
            }
            match rows.backoff.get(row) {
                Some(backoff) => writeln!(out, "\t{}", positive_zero(*backoff))?,
                None => writeln!(out)?,
            }
        }
    }
    write!(out, "\n\\end\\\n")?;
    out.flush()
}

/// `-0.0` would be read as zero all the same, but looks like a mistake.
fn positive_zero(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { x }
}
